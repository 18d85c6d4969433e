/** One small interface for both runtimes: ids in, logits out. */
import { BundleError } from "../errors.mjs";

/**
 * @typedef {Object} Session
 * @property {{[name: string]: string}} environment runtime, version, delegate, threads.
 * @property {(ids: number[]) => Promise<Float32Array>} logits of one sequence, not padded.
 * @property {() => Promise<void>} close frees the model's memory.
 */

/** Format → the module that runs it; a runtime is loaded only when an artifact needs it. */
const RUNTIMES = {
  onnx: () => import("./onnx.mjs"),
  tflite: () => import("./litert.mjs"),
};

/**
 * Loads a model.
 * @param {Uint8Array} bytes verified.
 * @param {import("../manifest.mjs").Artifact} artifact
 * @param {import("../manifest.mjs").Manifest} manifest
 * @returns {Promise<Session>}
 * @throws {BundleError} the runtime refuses it, or its tensors are not what the manifest says.
 */
export async function openSession(bytes, artifact, manifest) {
  const inputs = artifact.inputs.map((tensor) => tensor.name).sort().join();
  if (inputs !== "attention_mask,input_ids" || artifact.outputs.length !== 1) {
    throw new BundleError(`${artifact.path} has inputs or outputs that this page does not know`);
  }
  const width = artifact.outputs[0].shape.at(-1);
  if (width !== manifest.task.labels.length) {
    throw new BundleError(`${artifact.path} gives ${width} logits`, {
      why: `the manifest has ${manifest.task.labels.length} labels`,
    });
  }
  try {
    const runtime = await RUNTIMES[artifact.format]();
    return await runtime.open(bytes, artifact, manifest.tokenizer);
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`${artifact.path} cannot be loaded`, {
      why: oneLine(error), todo: "try another artifact of the bundle, or a newer browser",
    });
  }
}

/**
 * Ids and mask of one row, filled up to a length that the artifact has.
 * @param {number[]} ids
 * @param {number[]|null} lengths ascending; null where any length runs.
 * @param {{pad_id: number, pad_side: "left"|"right"}} spec
 * @returns {{input_ids: Int32Array, attention_mask: Int32Array}}
 */
export function row(ids, lengths, spec) {
  const length = lengths?.find((each) => each >= ids.length) ?? ids.length;
  const start = spec.pad_side === "right" ? 0 : length - ids.length;
  const inputIds = new Int32Array(length).fill(spec.pad_id);
  inputIds.set(ids, start);
  const attentionMask = new Int32Array(length).fill(0).fill(1, start, start + ids.length);
  return { input_ids: inputIds, attention_mask: attentionMask };
}

/** @param {Float32Array} logits @param {number} width */
export function checkWidth(logits, width) {
  if (logits.length !== width) {
    throw new BundleError(`the runtime returned ${logits.length} logits`, { why: `not ${width}` });
  }
  return logits;
}

/** @param {any} error of a runtime: an Error, a string or a number. */
function oneLine(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").trim();
}
