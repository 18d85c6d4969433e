/** Text → labels with one artifact of a bundle: the twin of runtime/classify.py. */
import { decisions, probabilities, ranking } from "./decisions.mjs";
import { openSession } from "./sessions/session.mjs";
import { TextTokenizer } from "./tokenizer.mjs";

/**
 * @typedef {Object} Classification
 * @property {number[]} ids with special tokens, not padded.
 * @property {boolean} truncated the text had more ids than the model reads.
 * @property {Float32Array} logits
 * @property {number[]} probabilities in the order of the labels.
 * @property {boolean[]} chosen likewise.
 * @property {string[]} labels those that the text gets, likeliest first.
 */

export class TextClassifier {
  /**
   * @param {import("./bundle.mjs").Bundle} bundle
   * @param {import("./manifest.mjs").Artifact} artifact one of `bundle.artifacts()`.
   * @returns {Promise<TextClassifier>}
   */
  static async load(bundle, artifact) {
    const { manifest } = bundle;
    const spec = manifest.tokenizer;
    const tokenizer = new TextTokenizer(bundle.readJson(spec.file), spec);
    const session = await openSession(await bundle.readArtifact(artifact), artifact, manifest);
    return new TextClassifier(bundle, artifact, tokenizer, session);
  }

  constructor(bundle, artifact, tokenizer, session) {
    this.bundle = bundle;
    this.artifact = artifact;
    this.tokenizer = tokenizer;
    this.session = session;
  }

  /** @param {string} text any string, the empty one too. @returns {Promise<Classification>} */
  async classify(text) {
    const { ids, truncated } = this.tokenizer.encode(text);
    const logits = await this.session.logits(ids);
    const { task } = this.bundle.manifest;
    const shares = probabilities(logits, task);
    const chosen = decisions(logits, task);
    const labels = ranking(shares).filter((i) => chosen[i]).map((i) => task.labels[i]);
    return { ids, truncated, logits, probabilities: shares, chosen, labels };
  }

  /** Frees the model. */
  close() {
    return this.session.close();
  }
}
