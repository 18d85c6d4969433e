/**
 * manifest.json, read strictly: schema 1 and 2, nothing missing, nothing unknown.
 *
 * The twin of runtime/manifest.py; the shapes below follow its dataclasses field by field.
 */
import { BundleError } from "./errors.mjs";

const NEWEST_SCHEMA = 2;

/** @typedef {{name: string, dtype: string, shape: (number|string)[]}} TensorSpec */
/** @typedef {{path: string, bytes: number, sha256: string}} FileSpec */
/**
 * @typedef {{path: string, format: string, recipe: string, precision: string, bytes: number,
 *   sha256: string, inputs: TensorSpec[], outputs: TensorSpec[], lengths: number[]|null,
 *   minimum_runtime: Object<string, string>, gate: string, files: FileSpec[]}} Artifact
 */
/**
 * @typedef {{kind: string, activation: string, labels: string[], thresholds: number[]|null}} Task
 */
/**
 * @typedef {{type: string, file: string, vocab_size: number, max_length: number, pad_id: number,
 *   pad_side: "left"|"right", cls_token: string, sep_token: string, cls_position: "first"|"last",
 *   lowercase: boolean|null, strip_accents: boolean|null, clean_text: boolean|null,
 *   handle_chinese_chars: boolean|null, lone_surrogates: string}} TokenizerSpec
 */
/**
 * @typedef {{schema_version: number, name: string, task: Task, tokenizer: TokenizerSpec,
 *   artifacts: Artifact[], files: FileSpec[]}} Manifest
 */

/** @typedef {(value: any, where: string) => any} Reader */

/** @param {string} name @param {(value: any) => boolean} fits @returns {Reader} */
const plain = (name, fits) => (value, where) => {
  if (!fits(value)) {
    throw new BundleError(`${where} has the wrong type`, { why: `expected ${name}` });
  }
  return value;
};

const text = plain("a string", (value) => typeof value === "string");
const flag = plain("true or false", (value) => typeof value === "boolean");
const whole = plain("a whole number", Number.isSafeInteger);
const number = plain("a number", Number.isFinite);
const hash = plain("64 hex digits", (v) => typeof v === "string" && /^[0-9a-f]{64}$/.test(v));

/** @param {...string} words @returns {Reader} */
const oneOf = (...words) => (value, where) => {
  if (!words.includes(value)) {
    throw new BundleError(`${where} is ${JSON.stringify(value)}`, {
      why: `it must be one of ${words.join(", ")}`,
    });
  }
  return value;
};

/** @param {Reader} reader @returns {Reader} */
const orNull = (reader) => (value, where) => (value === null ? null : reader(value, where));

/** @param {Reader} item @returns {Reader} */
const list = (item) => (value, where) => {
  if (!Array.isArray(value)) throw new BundleError(`${where} is not a list`);
  return value.map((each, i) => item(each, `${where}[${i}]`));
};

/** @param {any} value @param {string} where */
function checkObject(value, where) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new BundleError(`${where} is not a JSON object`);
  }
}

/** @param {Reader} item @returns {Reader} */
const mapOf = (item) => (value, where) => {
  checkObject(value, where);
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, item(each, `${where}.${key}`)]),
  );
};

/**
 * An object with exactly these fields; those in `defaults` may be left out.
 * @param {Object<string, Reader>} fields
 * @param {Object<string, any>} [defaults]
 * @returns {Reader}
 */
const record = (fields, defaults = {}) => (value, where) => {
  checkObject(value, where);
  const unknown = Object.keys(value).filter((name) => !Object.hasOwn(fields, name)).sort();
  if (unknown.length) throw new BundleError(`${where} has the unknown field '${unknown[0]}'`);
  const result = {};
  for (const [name, reader] of Object.entries(fields)) {
    if (Object.hasOwn(value, name)) result[name] = reader(value[name], `${where}.${name}`);
    else if (Object.hasOwn(defaults, name)) result[name] = defaults[name];
    else throw new BundleError(`${where} lacks the field '${name}'`);
  }
  return result;
};

const dimension = plain("a number or a name", (v) => Number.isSafeInteger(v) || typeof v === "string");
const tensor = record({ name: text, dtype: text, shape: list(dimension) });
const file = record({ path: text, bytes: whole, sha256: hash });
const storedWeight = record(
  {
    name: text, shape: list(whole), role: text, precision: text, sparsity: number,
    bits: orNull(number), sha256: orNull(text),
  },
  { sha256: null },
);
const weights = record(
  { elements: mapOf(whole), float_weights: list(text), stored: list(storedWeight) },
  { stored: [] },
);
const artifact = record(
  {
    path: text, format: text, recipe: text, precision: text, bytes: whole, sha256: hash,
    inputs: list(tensor), outputs: list(tensor), lengths: orNull(list(whole)),
    minimum_runtime: mapOf(text), weights, gate: oneOf("pass", "fail", "unknown"),
    files: list(file),
  },
  { files: [] },
);
const task = record(
  {
    kind: oneOf("single_label", "multi_label", "embedding"),
    activation: oneOf("softmax", "sigmoid", "l2", "none"),
    labels: list(text), thresholds: orNull(list(number)), pooling: orNull(oneOf("mean", "cls")),
  },
  { thresholds: null, pooling: null },
);
const tokenizer = record(
  {
    type: oneOf("WordPiece", "BPE", "Unigram"), file: text, vocab: orNull(text), vocab_size: whole,
    max_length: whole, pad_id: whole, pad_side: oneOf("left", "right"), pad_token: text,
    cls_token: text, sep_token: text, unk_token: text, mask_token: orNull(text),
    cls_position: oneOf("first", "last"), token_types: oneOf("none", "in_graph"),
    lowercase: orNull(flag), strip_accents: orNull(flag), clean_text: orNull(flag),
    handle_chinese_chars: orNull(flag), lone_surrogates: text,
  },
  { lone_surrogates: "\ufffd" },
);
const manifest = record({
  schema_version: whole, name: text, task, tokenizer, artifacts: list(artifact), files: list(file),
  source: record({
    model: text, architecture: text, family: text, revision: orNull(text), sha256: text,
    parameters: whole,
  }),
  data: record({ name: text, sha256: text, rows: mapOf(whole), problems: mapOf(whole) }),
  metrics: mapOf(number), tools: mapOf(text),
});

/** What every bundle of version 1 had without saying it (runtime/manifest_v1.py). */
const IMPLIED_BY_VERSION_1 = {
  task: { pooling: null },
  tokenizer: {
    pad_token: "[PAD]", mask_token: "[MASK]", cls_position: "first", token_types: "none",
  },
  source: { family: "distilbert" },
};

/**
 * Reads a parsed manifest.
 * @param {any} value
 * @returns {Manifest} of version 1, too, with what it implies; its version stays 1.
 * @throws {BundleError} another version, a field missing, unknown or of the wrong type, or fields
 *   that contradict each other.
 */
export function readManifest(value) {
  checkObject(value, "manifest.json");
  const version = value.schema_version;
  if (!Number.isSafeInteger(version) || version < 1 || version > NEWEST_SCHEMA) {
    throw new BundleError(`manifest.json has schema version ${JSON.stringify(version)}`, {
      why: `this page reads the versions 1 to ${NEWEST_SCHEMA}`,
      todo: "use the release that wrote the bundle, or export it again",
    });
  }
  const found = manifest(version === 1 ? upgraded(value) : value, "manifest");
  check(found);
  return found;
}

/** @param {any} value */
function upgraded(value) {
  const result = { ...value };
  for (const [part, implied] of Object.entries(IMPLIED_BY_VERSION_1)) {
    checkObject(value[part], `manifest.${part}`);
    const odd = Object.keys(implied).filter((name) => Object.hasOwn(value[part], name)).sort();
    if (odd.length) {
      throw new BundleError(`manifest.${part} has the unknown field '${odd[0]}'`, {
        why: "schema version 1 does not have it",
      });
    }
    result[part] = { ...value[part], ...implied };
  }
  if (result.tokenizer.pad_side !== "right") {
    throw new BundleError("manifest.tokenizer.pad_side must be 'right' in schema version 1");
  }
  return result;
}

/** What types cannot say. @param {Manifest} found */
function check(found) {
  checkTask(found.task);
  checkTokenizer(found.tokenizer);
  if (!found.artifacts.length) throw new BundleError("manifest.artifacts is empty");
  for (const each of found.artifacts) checkLengths(each, found.tokenizer.max_length);
  const inside = found.artifacts.flatMap((each) => each.files);
  const paths = [...found.files, ...found.artifacts, ...inside].map((entry) => entry.path);
  if (new Set(paths).size !== paths.length) throw new BundleError("manifest.json names a file twice");
}

const ACTIVATIONS = {
  single_label: ["softmax"], multi_label: ["sigmoid"], embedding: ["l2", "none"],
};

function checkTask({ kind, activation, labels, thresholds, pooling }) {
  const vectors = kind === "embedding";
  if ((labels.length < 1) !== vectors || new Set(labels).size !== labels.length) {
    throw new BundleError("manifest.task.labels is empty or names a label twice");
  }
  if (!ACTIVATIONS[kind].includes(activation)) {
    throw new BundleError(`manifest.task: ${activation} does not belong to ${kind}`);
  }
  if ((pooling !== null) !== vectors) {
    throw new BundleError("manifest.task.pooling belongs to vectors, and vectors have one");
  }
  if ((thresholds !== null) !== (kind === "multi_label")) {
    throw new BundleError("manifest.task.thresholds belong to a multi-label task, one per label");
  }
  if (thresholds?.length !== undefined
      && (thresholds.length !== labels.length || !thresholds.every((t) => t >= 0 && t <= 1))) {
    throw new BundleError("manifest.task.thresholds must be one probability per label");
  }
}

function checkTokenizer(spec) {
  if (spec.max_length < 2) {
    throw new BundleError("manifest.tokenizer.max_length leaves no room for the special tokens");
  }
  if (spec.pad_id < 0 || spec.pad_id >= spec.vocab_size) {
    throw new BundleError("manifest.tokenizer.pad_id is not in the vocabulary");
  }
  const ofWordPiece = [
    spec.vocab, spec.lowercase, spec.strip_accents, spec.clean_text, spec.handle_chinese_chars,
  ];
  if (ofWordPiece.some((value) => (value === null) === (spec.type === "WordPiece"))) {
    throw new BundleError(
      `manifest.tokenizer: vocab and BertNormalizer's flags contradict ${spec.type}`,
      { why: "WordPiece has all of them, another type has none" },
    );
  }
}

function checkLengths({ path, lengths }, maxLength) {
  if (lengths === null) return;
  if (!lengths.length || lengths.some((length, i) => i > 0 && length <= lengths[i - 1])) {
    throw new BundleError(`${path}: lengths must be ascending and not empty`);
  }
  if (lengths.at(-1) < maxLength) {
    throw new BundleError(`${path}: no length holds tokenizer.max_length ids`);
  }
}
