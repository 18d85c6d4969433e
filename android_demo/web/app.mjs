/** The page: opens the bundle beside it or a chosen one, classifies as the user types. */
import { Bundle } from "./bundle.mjs";
import { TextClassifier } from "./classifier.mjs";
import { goldenCases, replay } from "./replay.mjs";
import { chosenSource, droppedSource, servedSource } from "./sources.mjs";
import {
  element, showAnswer, showArtifacts, showBundle, showError, showExamples, showReplay, showRuntime,
} from "./view.mjs";

const TYPING_PAUSE = 120; // milliseconds
const EXAMPLES = 4;

/** @type {Bundle|null} */
let bundle = null;
/** @type {TextClassifier|null} */
let classifier = null;
/** One thing at a time: a bundle, an artifact and a text are opened and run in order. */
let queue = Promise.resolve();
let replaying = new AbortController();
let showAll = false;

/** Runs a step after those before it; its error becomes the sentence on the page. */
function next(step) {
  queue = queue.then(step).then(() => showError(null)).catch((error) => {
    if (error?.name !== "AbortError") showError(error);
  });
  return queue;
}

function setReady(ready) {
  document.body.dataset.state = ready ? "ready" : "busy"; // for tests
  for (const id of ["text", "replay"]) element(id).disabled = !ready;
}

/** @param {import("./sources.mjs").BundleSource} source */
async function openBundle(source) {
  setReady(false);
  try {
    const opened = await Bundle.open(source);
    const smallest = opened.artifacts()[0];
    await useArtifact(opened, smallest);
    bundle = opened;
    showBundle(opened.manifest);
    showArtifacts(opened.artifacts());
    element("artifact").value = smallest.path;
    const texts = examples(opened);
    showExamples(texts, (text) => {
      element("text").value = text;
      next(classify);
    });
    element("text").value ||= texts[0] ?? "";
  } finally {
    setReady(classifier !== null); // a bundle that was open before stays
    if (!classifier) {
      document.body.dataset.state = "refused";
      element("about").textContent = "No bundle is open.";
    }
  }
  await classify();
}

/** The one in use stays if the new one cannot be loaded. */
async function useArtifact(of, artifact) {
  const loaded = await TextClassifier.load(of, artifact);
  await classifier?.close();
  classifier = loaded;
  element("verdict").replaceChildren();
  showRuntime(loaded);
  document.body.dataset.artifact = artifact.path;
  setReady(true);
}

/** Short texts of the bundle's own, of different labels where there are. */
function examples(of) {
  const cases = goldenCases(of).filter((each) => each.set === "validation");
  const short = cases.filter((each) => each.text.length <= 80);
  const byLabel = new Map();
  for (const each of short) if (!byLabel.has(String(each.targets))) byLabel.set(String(each.targets), each);
  return [...new Set([...byLabel.values(), ...short, ...cases])]
    .slice(0, EXAMPLES).map((each) => each.text);
}

async function classify() {
  if (!classifier || !bundle) return;
  const start = performance.now();
  const found = await classifier.classify(element("text").value);
  showAnswer(found, bundle.manifest, performance.now() - start, showAll);
}

async function runReplay() {
  if (!classifier) return;
  const bar = element("progress");
  replaying = new AbortController();
  setReady(false);
  bar.hidden = false;
  bar.removeAttribute("value");
  try {
    const { summary, results } = await replay(classifier, (done, all) => {
      bar.max = all;
      bar.value = done;
    }, replaying.signal);
    const file = new Blob([JSON.stringify(results)], { type: "application/json" });
    showReplay(summary, classifier.artifact.path, URL.createObjectURL(file));
  } finally {
    bar.hidden = true;
    setReady(true);
  }
}

let typing = 0;
element("text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => next(classify), TYPING_PAUSE);
});
element("artifact").addEventListener("change", () => {
  const path = element("artifact").value;
  replaying.abort();
  next(async () => {
    setReady(false);
    try {
      await useArtifact(bundle, bundle.artifact(path));
    } finally {
      setReady(true);
      element("artifact").value = classifier.artifact.path;
    }
    await classify();
  });
});
element("all").addEventListener("click", () => {
  showAll = !showAll;
  next(classify);
});
element("replay").addEventListener("click", () => next(runReplay));
element("folder").addEventListener("change", () => {
  replaying.abort();
  const files = [...element("folder").files];
  if (files.length) next(() => openBundle(chosenSource(files)));
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const entry = event.dataTransfer?.items[0]?.webkitGetAsEntry?.();
  replaying.abort();
  if (entry?.isDirectory) next(() => openBundle(droppedSource(entry)));
  else next(() => { throw new Error("Drop a bundle's folder, not a file."); });
});

next(() => openBundle(servedSource(new URL("bundle/", document.baseURI))));
