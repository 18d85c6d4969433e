/** Opens a bundle: reads its manifest, verifies every byte it uses, refuses what is not promised. */
import { BundleError } from "./errors.mjs";
import { readManifest } from "./manifest.mjs";

const MANIFEST = "manifest.json";
// A manifest is a few kilobytes; a larger one is an attack or a mistake.
const MAX_MANIFEST_BYTES = 16 << 20;
/** What this page runs. */
const FORMATS = ["onnx", "tflite"];

/** @typedef {import("./manifest.mjs").Artifact} Artifact */
/** @typedef {import("./manifest.mjs").FileSpec} FileSpec */

export class Bundle {
  /**
   * @param {import("./sources.mjs").BundleSource} source
   * @returns {Promise<Bundle>} whose `files` all have the manifest's sizes and hashes. An artifact
   *   is verified when it is read.
   * @throws {BundleError} whatever is missing, changed or not what this page can run.
   */
  static async open(source) {
    if (!globalThis.crypto?.subtle) {
      throw new BundleError("this browser gives the page no hashes to verify the bundle with", {
        todo: "open it over https or from localhost",
      });
    }
    const bytes = await source.read(MANIFEST, true);
    if (bytes === null) {
      throw new BundleError(`${source.name} is not a bundle`, {
        why: `it has no ${MANIFEST}, which is written last`,
        todo: "make the page with a bundle, or choose a bundle's folder",
      });
    }
    const manifest = readManifest(parse(bytes));
    const bundle = new Bundle(source, manifest);
    if (manifest.task.kind === "embedding") {
      throw new BundleError(`${manifest.name} gives sentence vectors and no labels`, {
        todo: "embed a text with: mobile-runtime embed BUNDLE TEXT",
      });
    }
    if (!bundle.artifacts().length) {
      const known = manifest.artifacts.map((artifact) => artifact.format).join(", ");
      throw new BundleError(`${manifest.name} has nothing that a browser runs`, {
        why: `its formats are ${known}`, todo: "export it with TARGET=onnx or TARGET=tflite",
      });
    }
    for (const entry of manifest.files) bundle.#kept.set(entry.path, await bundle.#read(entry));
    return bundle;
  }

  /** @type {Map<string, Uint8Array>} the verified bytes, so that what is used is what was verified */
  #kept = new Map();

  constructor(source, manifest) {
    this.source = source;
    /** @type {import("./manifest.mjs").Manifest} */
    this.manifest = manifest;
  }

  /** @returns {Artifact[]} that this page can run, smallest first. */
  artifacts() {
    return this.manifest.artifacts
      .filter((artifact) => FORMATS.includes(artifact.format))
      .sort((a, b) => a.bytes - b.bytes);
  }

  /** @param {string} path @returns {Artifact} of those that this page can run. */
  artifact(path) {
    const found = this.artifacts().find((artifact) => artifact.path === path);
    if (!found) {
      const known = this.artifacts().map((artifact) => artifact.path).join(", ");
      throw new BundleError(`no artifact for a browser is called '${path}'`, {
        todo: `name one of: ${known}`,
      });
    }
    return found;
  }

  /** @param {Artifact} artifact @returns {Promise<Uint8Array>} verified. */
  readArtifact(artifact) {
    return this.#read(artifact);
  }

  /** @param {string} path of one of the manifest's `files`. @returns {any} parsed JSON. */
  readJson(path) {
    const bytes = this.#kept.get(path);
    if (!bytes) {
      throw new BundleError(`${path} is not in the manifest`, { todo: "export the bundle again" });
    }
    return parse(bytes, path);
  }

  /** @param {FileSpec|Artifact} entry @returns {Promise<Uint8Array>} its verified bytes. */
  async #read(entry) {
    try {
      return await verified(await this.source.read(entry.path), entry);
    } catch {
      // A browser may have kept a copy of before; what counts is what is there now.
      return verified(await this.source.read(entry.path, true), entry);
    }
  }
}

/**
 * @param {Uint8Array|null} bytes
 * @param {FileSpec|Artifact} entry
 * @returns {Promise<Uint8Array>} the same bytes.
 * @throws {BundleError} they are not what the manifest says.
 */
async function verified(bytes, entry) {
  if (bytes === null) {
    throw new BundleError(`${entry.path} is missing`, { todo: "export the bundle again" });
  }
  if (bytes.length !== entry.bytes) {
    throw new BundleError(`${entry.path} has ${bytes.length} bytes`, {
      why: `the manifest says ${entry.bytes}`,
      todo: "export the bundle again, or copy it again",
    });
  }
  if ((await sha256(bytes)) !== entry.sha256) {
    throw new BundleError(`${entry.path} was changed`, {
      why: "its SHA-256 is not the manifest's",
      todo: "export the bundle again, or copy it again",
    });
  }
  return bytes;
}

/** @param {Uint8Array} bytes @returns {Promise<string>} hex. */
async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Uint8Array} bytes @param {string} path */
function parse(bytes, path = MANIFEST) {
  if (path === MANIFEST && bytes.length > MAX_MANIFEST_BYTES) {
    throw new BundleError(`${path} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new BundleError(`${path} is not JSON`, {
      why: String(error?.message ?? error), todo: "export the bundle again",
    });
  }
}
