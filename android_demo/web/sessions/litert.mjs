/** Runs TFLite files with LiteRT.js: WebAssembly with XNNPACK, one thread. */
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

import { BundleError } from "../errors.mjs";
import { checkWidth, row } from "./session.mjs";

const VERSION = "2.5.3"; // of the package, which does not tell it; a test compares the lock file

// The build without relaxed SIMD: that lets a processor round as it likes, so that one browser's
// answers would not be another's. It is as fast on our models (1.1 and 1.0 ms; 152 and 142 ms).
const WASM = "../vendor/litert/litert_wasm_compat_internal.js";

/** @type {Promise<unknown>|null} loaded once a page */
let runtime = null;

/**
 * @param {Uint8Array} bytes
 * @param {import("../manifest.mjs").Artifact} artifact
 * @param {import("../manifest.mjs").TokenizerSpec} spec
 * @returns {Promise<import("./session.mjs").Session>}
 */
export async function open(bytes, artifact, spec) {
  runtime ??= loadLiteRt(new URL(WASM, import.meta.url).href).catch((error) => {
    runtime = null; // the next try loads it again
    throw error;
  });
  await runtime;
  const model = await loadAndCompile(bytes, { accelerator: "wasm" });
  checkSignatures(model, artifact);
  const output = artifact.outputs[0];
  return {
    environment: { runtime: "LiteRT.js", version: VERSION, delegate: "XNNPACK", threads: "1" },
    async logits(ids) {
      const values = row(ids, artifact.lengths, spec);
      const length = values.input_ids.length;
      const inputs = Object.fromEntries(
        Object.entries(values).map(([name, row]) => [name, new Tensor(row, [1, length])]),
      );
      let outputs = {};
      try {
        outputs = await model.run(signature(length), inputs);
        return checkWidth(
          Float32Array.from(await outputs[output.name].data()), output.shape.at(-1),
        );
      } finally {
        for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete();
      }
    },
    close: async () => model.delete(),
  };
}

const signature = (length) => `seq_${length}`;

/** A runtime would take another shape with as many elements, and answer wrongly. */
function checkSignatures(model, artifact) {
  for (const length of artifact.lengths ?? []) {
    const runner = model.signatures[signature(length)];
    const inputs = runner?.getInputDetails()
      .map((tensor) => `${tensor.name} ${tensor.dtype} ${[...tensor.shape]}`).sort().join("; ");
    const wanted = `attention_mask int32 1,${length}; input_ids int32 1,${length}`;
    const outputs = runner?.getOutputDetails().map((tensor) => tensor.name).join();
    if (inputs !== wanted || outputs !== artifact.outputs[0].name) {
      throw new BundleError(`${artifact.path} has not the signature ${signature(length)}`, {
        why: `wanted ${wanted}, found ${inputs ?? "none"}`,
      });
    }
  }
}
