/** Replays golden.json and writes what `parity replay` judges (runtime/parity/README.md). */
import { decisions } from "./decisions.mjs";
import { BundleError } from "./errors.mjs";

const GOLDEN = "golden.json";
const GOLDEN_SCHEMA = 1;
const RESULTS_SCHEMA = 1;

/**
 * @typedef {{name: string, set: string, text: string, input_ids: number[],
 *   reference_logits: number[], artifact_logits: {[path: string]: number[]}}} GoldenCase
 */
/**
 * @typedef {Object} ReplaySummary
 * @property {number} cases
 * @property {number} equalIds cases whose ids are the golden ones.
 * @property {number} equalLabels cases whose labels are those of the artifact in Python.
 * @property {number} referenceLabels cases whose labels are PyTorch's.
 * @property {number} largest largest difference from the artifact's logits in Python.
 * @property {number} milliseconds median of one text.
 */

/**
 * @param {import("./bundle.mjs").Bundle} bundle
 * @returns {GoldenCase[]}
 */
export function goldenCases(bundle) {
  const { schema_version: version, cases } = bundle.readJson(GOLDEN);
  if (version !== GOLDEN_SCHEMA || !Array.isArray(cases)) {
    throw new BundleError(`${GOLDEN} has schema version ${JSON.stringify(version)}`, {
      why: `this page reads ${GOLDEN_SCHEMA}`,
    });
  }
  return cases;
}

/**
 * @param {import("./classifier.mjs").TextClassifier} classifier
 * @param {(done: number, all: number) => void} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<{summary: ReplaySummary, results: object}>} `results` is RESULTS.json.
 */
export async function replay(classifier, progress, signal) {
  const { artifact, bundle, session } = classifier;
  const { task } = bundle.manifest;
  const cases = goldenCases(bundle);
  const summary = { cases: 0, equalIds: 0, equalLabels: 0, referenceLabels: 0, largest: 0 };
  const times = [];
  const written = [];
  for (const golden of cases) {
    signal?.throwIfAborted();
    const start = performance.now();
    const found = await classifier.classify(golden.text);
    times.push(performance.now() - start);
    const expected = golden.artifact_logits[artifact.path];
    summary.cases += 1;
    summary.equalIds += same(found.ids, golden.input_ids);
    summary.equalLabels += same(found.chosen, decisions(expected, task));
    summary.referenceLabels += same(found.chosen, decisions(golden.reference_logits, task));
    summary.largest = Math.max(summary.largest, ...expected.map((v, i) => Math.abs(v - found.logits[i])));
    written.push({
      name: golden.name, logits: Array.from(found.logits, jsonNumber), input_ids: found.ids,
      labels: found.labels,
    });
    progress(summary.cases, cases.length);
    // The page stays alive between two texts.
    if (summary.cases % 8 === 0) await new Promise((resolve) => { setTimeout(resolve); });
  }
  times.sort((a, b) => a - b);
  const entry = {
    path: artifact.path, sha256: artifact.sha256, machine: machine(),
    environment: { ...session.environment, system: navigator.userAgent }, cases: written,
  };
  return {
    summary: { ...summary, milliseconds: times[times.length >> 1] ?? 0 },
    results: { schema_version: RESULTS_SCHEMA, artifacts: [entry] },
  };
}

/** What computes is WebAssembly, whatever the processor below. */
const machine = () => ({ architecture: "wasm32", processor: "", features: [], emulator: "" });

const same = (a, b) => Number(a.length === b.length && a.every((value, i) => value === b[i]));

/** JSON has no NaN and no infinity. @param {number} value */
function jsonNumber(value) {
  if (Number.isFinite(value)) return value;
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
}
