/** Runs ONNX files with onnxruntime-web: WebAssembly, one thread. */
import * as ort from "onnxruntime-web/wasm";

import { checkWidth, row } from "./session.mjs";

// Threads need headers that a plain file server does not send, and results should not depend on them.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const WASM = "../vendor/onnxruntime/ort-wasm-simd-threaded.wasm";
ort.env.wasm.wasmPaths = { wasm: new URL(WASM, import.meta.url).href };

/**
 * @param {Uint8Array} bytes
 * @param {import("../manifest.mjs").Artifact} artifact
 * @param {import("../manifest.mjs").TokenizerSpec} spec
 * @returns {Promise<import("./session.mjs").Session>}
 */
export async function open(bytes, artifact, spec) {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const output = artifact.outputs[0];
  return {
    environment: {
      runtime: "onnxruntime-web", version: ort.env.versions.web, delegate: "wasm", threads: "1",
    },
    async logits(ids) {
      const feeds = Object.fromEntries(
        Object.entries(row(ids, artifact.lengths, spec))
          .map(([name, values]) => [name, new ort.Tensor("int32", values, [1, values.length])]),
      );
      const found = (await session.run(feeds, [output.name]))[output.name];
      return checkWidth(Float32Array.from(found.data), output.shape.at(-1));
    },
    close: () => session.release(),
  };
}
