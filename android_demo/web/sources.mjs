/** Where a bundle's files come from: beside the page, or a folder that the user chose. */
import { BundleError } from "./errors.mjs";

/**
 * @typedef {Object} BundleSource
 * @property {string} name for messages.
 * @property {(path: string, fresh?: boolean) => Promise<Uint8Array|null>} read a file's bytes; null
 *   if it is absent. `fresh` does without a browser's kept copy.
 */

/**
 * Refuses whatever would lead out of the bundle.
 * @param {string} path as a manifest names it.
 */
function checkInside(path) {
  if (!path || path.startsWith("/") || path.split("/").includes("..") || /[\\\0]/.test(path)) {
    throw new BundleError(`the bundle names the path ${JSON.stringify(path)}`, {
      why: "it leaves the folder",
    });
  }
}

/**
 * Files of the server that the page came from.
 * @param {URL} base the bundle's folder, with a slash at the end.
 * @returns {BundleSource}
 */
export function servedSource(base) {
  return {
    name: base.pathname,
    async read(path, fresh = false) {
      checkInside(path);
      const url = new URL(path.split("/").map(encodeURIComponent).join("/"), base);
      let response;
      try {
        // The server is asked whether the browser's copy still holds; it tells by the second.
        response = await fetch(url, { cache: fresh ? "reload" : "no-cache" });
      } catch (error) {
        throw new BundleError(`${path} cannot be loaded`, {
          why: String(error?.message ?? error), todo: "see whether the server still runs",
        });
      }
      if (response.status === 404) return null;
      if (!response.ok) {
        throw new BundleError(`${path} cannot be loaded`, {
          why: `the server answers ${response.status}`,
        });
      }
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

/**
 * A folder chosen with a file input; nothing of it leaves the browser.
 * @param {File[]} files with `webkitRelativePath`, or plain names for files dropped one by one.
 * @returns {BundleSource}
 */
export function chosenSource(files) {
  const byPath = new Map(
    files.map((file) => {
      const [folder, ...rest] = (file.webkitRelativePath || file.name).split("/");
      return [rest.length ? rest.join("/") : folder, file];
    }),
  );
  const name = files[0]?.webkitRelativePath.split("/")[0] || "the folder";
  return fileSource(name, async (path) => byPath.get(path) ?? null);
}

/**
 * A folder dropped on the page.
 * @param {FileSystemDirectoryEntry} folder
 * @returns {BundleSource}
 */
export function droppedSource(folder) {
  const lookUp = (path) => new Promise((resolve) => {
    folder.getFile(path, {}, (entry) => entry.file(resolve, () => resolve(null)), () => resolve(null));
  });
  return fileSource(folder.name, lookUp);
}

function fileSource(name, lookUp) {
  return {
    name,
    async read(path) {
      checkInside(path);
      const file = await lookUp(path);
      if (file === null) return null;
      try {
        return new Uint8Array(await file.arrayBuffer());
      } catch (error) {
        throw new BundleError(`${path} cannot be read`, { why: String(error?.message ?? error) });
      }
    },
  };
}
