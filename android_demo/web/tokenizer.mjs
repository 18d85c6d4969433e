/**
 * Text → ids, the same ids on any text as `tokenizers` in Python gives (runtime/tokenizer.py).
 *
 * What turns a word into ids (WordPiece, byte-pair merges) is @huggingface/tokenizers 0.2.0, which
 * is right. What turns a text into words is normalizer.mjs; it says why.
 */
import { BPE, WordPiece } from "@huggingface/tokenizers";

import { AddedTokens } from "./added_tokens.mjs";
import { BundleError } from "./errors.mjs";
import { bertWords, byteLevelWords, normalizeBert } from "./normalizer.mjs";

/** @typedef {{ids: number[], truncated: boolean}} Encoding */

export class TextTokenizer {
  /**
   * @param {any} file tokenizer.json, parsed.
   * @param {import("./manifest.mjs").TokenizerSpec} spec the manifest's.
   * @throws {BundleError} a kind that this page cannot rebuild, or a contradiction.
   */
  constructor(file, spec) {
    this.spec = spec;
    const { normalize, words, model } = partsOf(file, spec);
    this.#normalize = normalize;
    this.#words = words;
    this.#model = model;
    const tokens = file.added_tokens ?? [];
    this.#raw = new AddedTokens(tokens.filter((token) => !token.normalized));
    this.#normalized = new AddedTokens(tokens.filter((token) => token.normalized), normalize);
    this.#ids = new Map(Object.entries(file.model.vocab));
    for (const token of tokens) this.#ids.set(token.content, token.id);
    if (this.#ids.size !== spec.vocab_size) {
      throw new BundleError(`${spec.file} has ${this.#ids.size} tokens`, {
        why: `the manifest says ${spec.vocab_size}`,
      });
    }
    const frame = [spec.cls_token, spec.sep_token].map((token) => this.#ids.get(token));
    if (frame.includes(undefined)) {
      throw new BundleError(`${spec.file} lacks ${spec.cls_token} or ${spec.sep_token}`);
    }
    [this.#before, this.#after] = spec.cls_position === "first"
      ? [[frame[0]], [frame[1]]]
      : [[], [frame[1], frame[0]]];
  }

  #normalize;
  #words;
  #model;
  #raw;
  #normalized;
  #ids;
  #before;
  #after;

  /**
   * Ids of one text with its special tokens, at most max_length of them.
   * @param {string} text any string; lone surrogates, which UTF-8 cannot carry, become the
   *   manifest's replacement first.
   * @returns {Encoding}
   */
  encode(text) {
    const clean = text.replace(/[\ud800-\udfff]/gu, () => this.spec.lone_surrogates);
    const ids = this.#raw.split(clean).flatMap((piece) => {
      if ("id" in piece) return [piece.id];
      return this.#normalized.split(this.#normalize(piece.text)).flatMap((part) =>
        ("id" in part ? [part.id] : this.#idsOf(part.text)));
    });
    const room = this.spec.max_length - this.#before.length - this.#after.length;
    return {
      ids: [...this.#before, ...ids.slice(0, Math.max(room, 0)), ...this.#after],
      truncated: ids.length > room,
    };
  }

  #idsOf(text) {
    return this.#model.encode(this.#words(text)).map((token) => this.#ids.get(token));
  }
}

/**
 * @param {any} file
 * @param {import("./manifest.mjs").TokenizerSpec} spec
 * @returns {{normalize: (text: string) => string, words: (text: string) => string[],
 *   model: {encode: (words: string[]) => string[]}}}
 */
function partsOf(file, spec) {
  const { model, normalizer, pre_tokenizer: splitter } = file;
  if (model?.type !== spec.type) {
    throw new BundleError(`${spec.file} is of the type ${model?.type}`, {
      why: `the manifest says ${spec.type}`,
    });
  }
  if (spec.type === "WordPiece") {
    demand(spec, "normalizer", normalizer?.type, "BertNormalizer");
    demand(spec, "pre-tokenizer", splitter?.type, "BertPreTokenizer");
    return {
      normalize: (text) => normalizeBert(text, spec),
      words: bertWords,
      model: new WordPiece(model),
    };
  }
  if (spec.type === "BPE") {
    demand(spec, "normalizer", normalizer?.type ?? "none", "none");
    demand(spec, "pre-tokenizer", splitter?.type, "ByteLevel");
    demand(spec, "pattern", splitter.use_regex ?? true, true);
    return {
      normalize: (text) => text,
      words: (text) => byteLevelWords(text, splitter.add_prefix_space),
      model: new BPE(model),
    };
  }
  throw new BundleError(`this page has no tokenizer of the type ${spec.type}`, {
    why: "it has WordPiece and byte-level BPE",
    todo: "export a model of another family, such as distilbert or roberta",
  });
}

function demand(spec, part, found, wanted) {
  if (found !== wanted) {
    throw new BundleError(`${spec.file} has the ${part} ${found ?? "none"}`, {
      why: `with ${spec.type} this page rebuilds ${wanted}`,
    });
  }
}
