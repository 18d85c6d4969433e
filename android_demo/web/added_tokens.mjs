/** Finds the tokenizer's added tokens, such as a literal `[CLS]`, in a text. */
import * as unicode from "./unicode.mjs";

/**
 * @typedef {{id: number, content: string, single_word: boolean, lstrip: boolean, rstrip: boolean,
 *   normalized: boolean}} AddedToken
 */
/** @typedef {{id: number}|{text: string}} Piece */

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

export class AddedTokens {
  /** @type {RegExp|null} */
  #pattern = null;

  /**
   * @param {AddedToken[]} tokens
   * @param {(content: string) => string} [normalize] for tokens that are looked for in normalized
   *   text.
   */
  constructor(tokens, normalize = (content) => content) {
    /** @type {Map<string, AddedToken>} */
    this.byContent = new Map();
    for (const token of tokens) {
      const content = normalize(token.content);
      if (content) this.byContent.set(content, token);
    }
    // The longest of those that start at one place; alternatives are tried in their order.
    const contents = [...this.byContent.keys()].sort((a, b) => b.length - a.length);
    if (contents.length) this.#pattern = new RegExp(contents.map(escaped).join("|"), "g");
  }

  /** @param {string} text @returns {Piece[]} in order; empty texts are left out. */
  split(text) {
    const pieces = [];
    let done = 0;
    const keep = (end) => {
      if (end > done) pieces.push({ text: text.slice(done, end) });
    };
    for (const match of this.#pattern ? text.matchAll(this.#pattern) : []) {
      const token = this.byContent.get(match[0]);
      let [start, end] = [match.index, match.index + match[0].length];
      if (token.single_word && (isWordAt(text, end) || isWordBefore(text, start))) continue;
      if (token.lstrip) while (start > done && isSpaceBefore(text, start)) start--;
      if (token.rstrip) while (end < text.length && isSpaceAt(text, end)) end++;
      keep(start);
      pieces.push({ id: token.id });
      done = end;
    }
    keep(text.length);
    return pieces;
  }
}

// White space is all in the basic plane: one UTF-16 unit.
const isSpaceAt = (text, at) => unicode.whitespace.has(text.charCodeAt(at));
const isSpaceBefore = (text, at) => isSpaceAt(text, at - 1);
const isWordAt = (text, at) => at < text.length && unicode.wordCharacters.has(text.codePointAt(at));

function isWordBefore(text, at) {
  if (at === 0) return false;
  const isPair = at > 1 && text.codePointAt(at - 2) > 0xffff;
  return unicode.wordCharacters.has(text.codePointAt(at - (isPair ? 2 : 1)));
}
