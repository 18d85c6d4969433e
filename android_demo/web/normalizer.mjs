/**
 * Text → words, exactly as Hugging Face's Rust `tokenizers` cuts them.
 *
 * These rules are ours because those of @huggingface/tokenizers 0.2.0 give other ids (11,655 of
 * 89,630 fuzzed texts, under a JavaScript engine with Unicode 17.0):
 * - ideographs outside the basic plane, such as U+20000, stay together, because it reads a text by
 *   UTF-16 units;
 * - a final sigma becomes ς, because it lower-cases with String.toLowerCase (Rust's: σ);
 * - \p{…} and normalize("NFD") follow the browser's Unicode version, and the Rust libraries have
 *   several, all older: 494 marks more are stripped, 140 more characters are punctuation, 20 more
 *   are dropped as format characters;
 * - an added token's `single_word` is not looked at, and no text is cut to a length.
 * The tables are read off the Rust library itself: see toolchain/unicode_tables.py.
 */
import * as unicode from "./unicode.mjs";

/** @param {string} text @returns {number[]} its code points. */
const pointsOf = (text) => Array.from(text, (character) => character.codePointAt(0));

/** @param {Iterable<number>} points @returns {string} */
function textOf(points) {
  let text = "";
  for (const point of points) text += String.fromCodePoint(point);
  return text;
}

/**
 * BertNormalizer: clean, set ideographs apart, strip accents, lower-case, in this order.
 * @param {string} text without lone surrogates.
 * @param {{clean_text: boolean, handle_chinese_chars: boolean, strip_accents: boolean,
 *   lowercase: boolean}} flags
 * @returns {string}
 */
export function normalizeBert(text, flags) {
  let points = pointsOf(text);
  if (flags.clean_text) {
    points = points
      .filter((point) => !unicode.cleanDropped.has(point))
      .map((point) => (unicode.cleanSpaces.has(point) ? 0x20 : point));
  }
  if (flags.handle_chinese_chars) {
    points = points.flatMap((point) => (unicode.chinese.has(point) ? [0x20, point, 0x20] : point));
  }
  if (flags.strip_accents) {
    points = decomposed(points).filter((point) => !unicode.accents.has(point));
  }
  if (flags.lowercase) points = points.flatMap((point) => unicode.lowercase(point));
  return textOf(points);
}

/** Canonical decomposition: each point by itself, then each run of marks by its classes. */
function decomposed(points) {
  const result = points.flatMap((point) => unicode.decomposition(point));
  for (let start = 0; start < result.length; start++) {
    if (!unicode.combiningRank(result[start])) continue;
    let end = start + 1;
    while (end < result.length && unicode.combiningRank(result[end])) end++;
    if (end - start > 1) {
      // The sort is stable: marks of one class keep their order.
      const marks = result.slice(start, end)
        .sort((a, b) => unicode.combiningRank(a) - unicode.combiningRank(b));
      marks.forEach((mark, i) => { result[start + i] = mark; });
    }
    start = end;
  }
  return result;
}

/**
 * BertPreTokenizer: white space parts words, each punctuation mark is a word of its own.
 * @param {string} text normalized.
 * @returns {string[]}
 */
export function bertWords(text) {
  const words = [];
  let word = "";
  const finish = () => {
    if (word) words.push(word);
    word = "";
  };
  for (const character of text) {
    const point = character.codePointAt(0);
    const isMark = unicode.punctuation.has(point);
    if (isMark || unicode.whitespace.has(point)) finish();
    if (isMark) words.push(character);
    else if (!unicode.whitespace.has(point)) word += character;
  }
  finish();
  return words;
}

const CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
const SPACE = 0x20;

/**
 * ByteLevel: GPT-2's pattern with the classes of the Rust library, then bytes as letters.
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * @param {string} text
 * @param {boolean} addPrefixSpace
 * @returns {string[]}
 */
export function byteLevelWords(text, addPrefixSpace) {
  const points = pointsOf(addPrefixSpace && !text.startsWith(" ") ? ` ${text}` : text);
  const kinds = points.map(kindOf);
  const words = [];
  for (let start = 0; start < points.length;) {
    const end = endOfWord(points, kinds, start);
    words.push(asLetters(textOf(points.slice(start, end))));
    start = end;
  }
  return words;
}

const kindOf = (point) => {
  if (unicode.whitespace.has(point)) return "space";
  if (unicode.letters.has(point)) return "letter";
  return unicode.numbers.has(point) ? "number" : "other";
};

function endOfWord(points, kinds, start) {
  const ahead = String.fromCodePoint(...points.slice(start, start + 3));
  const contraction = CONTRACTIONS.find((each) => ahead.startsWith(each));
  if (contraction) return start + contraction.length;
  // A single space goes with the word after it.
  const first = points[start] === SPACE && start + 1 < points.length ? start + 1 : start;
  if (kinds[first] !== "space") return endOfRun(kinds, first);
  const end = endOfRun(kinds, start);
  // Of white space before a word, the last character is left for it.
  return end < points.length && end - start > 1 ? end - 1 : end;
}

function endOfRun(kinds, start) {
  let end = start + 1;
  while (end < kinds.length && kinds[end] === kinds[start]) end++;
  return end;
}

/** Byte → letter: printable ones stand for themselves, the others from U+0100 on. */
const LETTERS = (() => {
  const printable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : next++));
})();
const encoder = new TextEncoder();

const asLetters = (word) => Array.from(encoder.encode(word), (byte) => LETTERS[byte]).join("");
