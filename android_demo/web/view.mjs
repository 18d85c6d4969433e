/** What the page shows. Texts and labels are only ever set as text, never as markup. */

const SHOWN_AT_FIRST = 8;
const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id @returns {any} an element of index.html. */
export const element = (id) => document.getElementById(id);

/** @param {string} tag @param {{[name: string]: any}} properties @param {...(Node|string)} children */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** @param {unknown} error null takes the last one away. */
export function showError(error) {
  const place = element("error");
  place.hidden = error === null;
  place.textContent = error === null ? "" : String(error?.message ?? error);
}

const percent = (share) => (Number.isNaN(share) ? "not a number" : `${(100 * share).toFixed(1)} %`);
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 0)} MB`;

/** @param {import("./manifest.mjs").Manifest} manifest */
export function showBundle(manifest) {
  const { task, source } = manifest;
  const kind = task.kind === "multi_label" ? "any number of labels a text" : "one label a text";
  document.title = manifest.name;
  element("name").textContent = manifest.name;
  element("about").textContent =
    `${source.family}, ${(source.parameters / 1e6).toFixed(1)} million parameters · `
    + `${task.labels.length} labels, ${kind}`;
}

/** @param {import("./manifest.mjs").Artifact[]} artifacts */
export function showArtifacts(artifacts) {
  element("artifact").replaceChildren(...artifacts.map((artifact) => make("option", {
    value: artifact.path,
    textContent: `${artifact.path} · ${artifact.recipe} · ${megabytes(artifact.bytes)}`,
  })));
  element("artifact").disabled = false;
}

/** @param {import("./classifier.mjs").TextClassifier} classifier */
export function showRuntime({ artifact, session }) {
  const { runtime, version, delegate } = session.environment;
  element("runtime").textContent =
    `Recipe ${artifact.recipe}, parity gate: ${artifact.gate}. `
    + `Runs on ${runtime} ${version} (${delegate}, one thread).`;
}

/**
 * @param {import("./classifier.mjs").Classification} found
 * @param {import("./manifest.mjs").Manifest} manifest
 * @param {number} milliseconds
 * @param {boolean} all every label, not only the likeliest.
 */
export function showAnswer(found, { task, tokenizer }, milliseconds, all) {
  const { probabilities: shares } = found;
  element("answer").textContent = found.labels.join(", ") || "No label reaches its threshold";
  const order = shares.map((_, i) => i).sort((a, b) =>
    found.chosen[b] - found.chosen[a] || shares[b] - shares[a] || a - b);
  const least = Math.max(SHOWN_AT_FIRST, found.labels.length);
  const shown = all ? order : order.slice(0, least);
  element("labels").replaceChildren(...shown.map((i) => make(
    "li", { className: found.chosen[i] ? "chosen" : "" },
    make("span", { className: "name", textContent: (found.chosen[i] ? "✓ " : "") + task.labels[i] }),
    make("span", { className: "share", textContent: percent(shares[i]) }),
    bar(shares[i], task.thresholds?.[i]),
  )));
  element("all").hidden = order.length <= least;
  element("all").textContent = all ? "Show fewer" : `Show all ${order.length} labels`;
  const cut = found.truncated ? `, cut to the model's ${tokenizer.max_length}` : "";
  const marks = task.thresholds ? " · the mark on a bar is the label's threshold" : "";
  element("details").textContent =
    `${found.ids.length} ids${cut} · ${milliseconds.toFixed(1)} ms${marks}`;
}

/** An SVG, because the page's security policy has no inline styles. */
function bar(share, threshold) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "bar");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const width = Number.isFinite(share) ? 100 * share : 0;
  svg.append(shape("rect", { width, height: 1 }));
  if (threshold !== undefined) {
    const x = 100 * threshold;
    svg.append(shape("line", { class: "threshold", x1: x, x2: x, y1: 0, y2: 1 }));
  }
  return svg;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/** @param {string[]} texts @param {(text: string) => void} choose */
export function showExamples(texts, choose) {
  element("examples").replaceChildren(...texts.map((text) => make("button", {
    type: "button", textContent: text, title: text, onclick: () => choose(text),
  })));
}

/**
 * @param {import("./replay.mjs").ReplaySummary} summary
 * @param {string} artifact
 * @param {string} link to results.json.
 */
export function showReplay(summary, artifact, link) {
  const of = (count) => `${count} of ${summary.cases}`;
  const rows = [
    ["Ids as exported", of(summary.equalIds)],
    [`Labels as ${artifact} gave in Python`, of(summary.equalLabels)],
    ["Labels as PyTorch gave", of(summary.referenceLabels)],
    ["Largest difference of a logit from Python's", summary.largest.toPrecision(2)],
    ["Median time of a text", `${summary.milliseconds.toFixed(1)} ms`],
  ];
  element("verdict").replaceChildren(
    make("table", {}, make("tbody", {}, ...rows.map(([name, value]) => make(
      "tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: value }),
    )))),
    make("p", {}, make("a", { id: "results", href: link, download: "results.json",
      textContent: "Save results.json" }), " and let the gate judge it:"),
    make("p", {}, make("code", {
      textContent: "mobile-runtime parity replay BUNDLE/golden.json results.json",
    })),
  );
}
