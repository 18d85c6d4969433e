/** Decodes unicode-tables.mjs; toolchain/unicode_tables.py explains the encoding. */
import * as tables from "./unicode-tables.mjs";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const CODE_POINTS = 0x110000;

/** Numbers in groups of 5 bits, lowest first; 32 is added to every group but the last. */
function* numbersOf(table) {
  let [value, shift] = [0, 0];
  for (const character of table) {
    const group = ALPHABET.indexOf(character);
    if (group < 0) continue; // a line break
    value += (group % 32) * 2 ** shift;
    shift += 5;
    if (group < 32) {
      yield value;
      [value, shift] = [0, 0];
    }
  }
}

class CodePoints {
  #member = new Uint8Array(CODE_POINTS);

  /** @param {string} table ranges: gap since the end of the one before, length - 1. */
  constructor(table) {
    const numbers = [...numbersOf(table)];
    let end = 0;
    for (let i = 0; i < numbers.length; i += 2) {
      const start = end + numbers[i];
      end = start + numbers[i + 1] + 1;
      this.#member.fill(1, start, end);
    }
  }

  /** @param {number} point @returns {boolean} */
  has(point) {
    return this.#member[point] === 1;
  }
}

/** @param {string} table ranges with a number each. @returns {Map<number, number>} */
function ranksOf(table) {
  const numbers = [...numbersOf(table)];
  const ranks = new Map();
  let end = 0;
  for (let i = 0; i < numbers.length; i += 3) {
    const start = end + numbers[i];
    end = start + numbers[i + 1] + 1;
    for (let point = start; point < end; point++) ranks.set(point, numbers[i + 2]);
  }
  return ranks;
}

/** @param {string} table @returns {Map<number, number[]>} code point → those in its place. */
function mappingOf(table) {
  const numbers = [...numbersOf(table)];
  const mapping = new Map();
  const last = [0, 0, 0, 0];
  let key = 0;
  for (let i = 0; i < numbers.length;) {
    key += numbers[i++];
    const count = numbers[i++];
    const targets = [];
    for (let place = 0; place < count; place++) {
      const code = numbers[i++];
      last[place] += code % 2 ? -(code + 1) / 2 : code / 2;
      targets.push(last[place]);
    }
    mapping.set(key, targets);
  }
  return mapping;
}

export const cleanDropped = new CodePoints(tables.CLEAN_DROPPED);
export const cleanSpaces = new CodePoints(tables.CLEAN_SPACES);
export const chinese = new CodePoints(tables.CHINESE);
export const accents = new CodePoints(tables.ACCENTS);
export const whitespace = new CodePoints(tables.WHITESPACE);
export const punctuation = new CodePoints(tables.PUNCTUATION);
export const letters = new CodePoints(tables.LETTERS);
export const numbers = new CodePoints(tables.NUMBERS);
export const wordCharacters = new CodePoints(tables.WORD_CHARACTERS);

const ranks = ranksOf(tables.COMBINING_RANKS);
const decompositions = mappingOf(tables.DECOMPOSITIONS);
const lowercases = mappingOf(tables.LOWERCASE);

/** @param {number} point @returns {number} marks in a row are sorted by it; 0 is no mark. */
export const combiningRank = (point) => ranks.get(point) ?? 0;

/** @param {number} point @returns {number|number[]} lower case, without regard to its neighbours. */
export const lowercase = (point) => lowercases.get(point) ?? point;

const FIRST_HANGUL = 0xac00;
const HANGUL = 11172;

/** @param {number} point @returns {number|number[]} canonical decomposition, complete. */
export function decomposition(point) {
  const hangul = point - FIRST_HANGUL;
  if (hangul < 0 || hangul >= HANGUL) return decompositions.get(point) ?? point;
  const parts = [0x1100 + Math.floor(hangul / 588), 0x1161 + Math.floor((hangul % 588) / 28)];
  if (hangul % 28) parts.push(0x11a7 + (hangul % 28));
  return parts;
}
