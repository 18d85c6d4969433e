"""The static page in a real browser: the goldens, its refusals, and what it never does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from android_demo.toolchain.browser import browser_answers, find_chromium, missing
from android_demo.toolchain.cli import make_app
from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.web import build_site
from android_demo.toolchain.web_server import make_server
from runtime.bundle import Bundle
from runtime.classify import TextClassifier
from runtime.errors import UserError
from runtime.golden import read_golden
from runtime.manifest import Manifest
from runtime.parity import gate

from web_support import Visit, change_file, change_manifest, flip_byte, visit

# Logits are up to 5.4; the widest difference seen from Python's: float32 3.6e-6, int8 0.0085.
NEAR = {"float32": 1e-4, "int8": 0.1}
ARTIFACTS = ("model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite")

if (_reason := missing()) is not None:
    pytest.skip(_reason, allow_module_level=True)


@pytest.fixture(scope="session")
def site(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the tiny bundle. Read-only: copy it before changing it."""
    try:
        return build_site(bundle_folder, tmp_path_factory.mktemp("web") / "site").folder
    except ToolUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def own_site(site: Path, tmp_path: Path) -> Path:
    """A copy of the page, to be damaged."""
    return Path(shutil.copytree(site, tmp_path / "site"))


@pytest.fixture
def opened(site: Path) -> Iterator[Visit]:
    """The page, open, with the smallest artifact."""
    with visit(site) as found:
        assert found.error() == ""
        yield found


def _replayed(found: Visit, artifact: str) -> dict[str, Any]:
    """Click through the replay; the results file that a user would save."""
    found.choose(artifact)
    found.page.click("#replay")
    found.page.wait_for_selector("#results")
    with found.page.expect_download() as download:
        found.page.click("#results")
    return dict(json.loads(Path(download.value.path()).read_bytes()))


def test_the_goldens_in_every_artifact(opened: Visit, bundle: Bundle, tmp_path: Path) -> None:
    golden = read_golden(bundle.file("golden.json"))
    everything = f"{len(golden.cases)} of {len(golden.cases)}"
    for artifact in ARTIFACTS:
        results = _replayed(opened, artifact)
        told = opened.page.inner_text("#verdict")
        assert f"Ids as exported\t{everything}" in told
        assert f"Labels as {artifact} gave in Python\t{everything}" in told

        (entry,) = results["artifacts"]
        assert entry["machine"]["architecture"] == "wasm32"
        assert [case["name"] for case in entry["cases"]] == [case.name for case in golden.cases]
        for case, expected in zip(entry["cases"], golden.cases, strict=True):
            assert tuple(case["input_ids"]) == expected.input_ids, expected.name
        logits = np.array([case["logits"] for case in entry["cases"]])
        precision = bundle.artifact(artifact).precision
        assert np.abs(logits - golden.artifacts[artifact]).max() < NEAR[precision]

        path = tmp_path / "results.json"
        path.write_text(json.dumps(results), encoding="utf-8")
        report = gate(bundle.path, results=path)
        assert report.verdict != "fail", report
        (judged,) = report.artifacts
        assert judged.figures["large_margin_flips"] == 0
        assert not judged.evidence.wrong_ids
        assert not judged.evidence.wrong_labels


@pytest.mark.parametrize("fault", ["input_ids", "labels"])
def test_the_gate_sees_a_wrong_id_or_label_of_the_page(
    opened: Visit, bundle: Bundle, tmp_path: Path, fault: str
) -> None:
    results = _replayed(opened, "model.onnx")
    case = results["artifacts"][0]["cases"][3]
    case[fault] = [*case[fault], 5] if fault == "input_ids" else ["no such label"]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    assert gate(bundle.path, results=path).verdict == "fail"


def test_a_wrong_golden_is_counted(own_site: Path) -> None:
    def spoil(golden: dict[str, Any]) -> None:
        golden["cases"][0]["input_ids"][1] += 1
        golden["cases"][1]["artifact_logits"]["model_int8.onnx"].reverse()

    change_file(own_site / "bundle", "golden.json", spoil)
    with visit(own_site) as found:
        _replayed(found, "model_int8.onnx")
        told = found.page.inner_text("#verdict")
    cases = len(json.loads((own_site / "bundle" / "golden.json").read_bytes())["cases"])
    assert f"Ids as exported\t{cases - 1} of {cases}" in told
    assert f"gave in Python\t{cases - 1} of {cases}" in told


TEXTS = [
    "the sun is warm and the sky is clear",
    "",
    "   \n\t ",
    "heavy rain " * 910,
    "🌧️🌞👩‍👩‍👧 snow❄",
    "[CLS] [SEP] İstanbul ΟΔΟΣ 漢字 𠀀 e\u0301",
    "half a pair \ud83d and the other \ude00",
    "\u0000\ufffd\u200b\ufeff",
]


def test_typed_texts_get_pythons_labels(opened: Visit, bundle: Bundle) -> None:
    for artifact in ARTIFACTS:
        python = TextClassifier(bundle, bundle.artifact(artifact))
        opened.choose(artifact)
        for text in TEXTS:
            if "\ud83d" in text:
                continue  # Playwright cannot type it; browser_answers can
            assert opened.answer(text) == ", ".join(python.classify(text).labels)
    assert "cut to the model's" not in opened.page.inner_text("#details")
    opened.answer(TEXTS[3])
    assert "cut to the model's" in opened.page.inner_text("#details")
    assert opened.errors == []


@pytest.mark.parametrize("artifact", ["model_int8.onnx", "model.tflite"])
def test_browser_answers_are_pythons(bundle: Bundle, artifact: str) -> None:
    spec = bundle.artifact(artifact)
    python = TextClassifier(bundle, spec)
    texts = TEXTS * 5  # more than one batch
    answers = list(browser_answers(bundle.path, artifact, texts))
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        expected = python.classify(text)
        assert answer["ids"] == python.tokenizer.ids(text)
        assert tuple(answer["labels"]) == expected.labels
        shares = [expected.probabilities[label] for label in bundle.manifest.task.labels]
        assert np.abs(np.array(answer["probabilities"]) - shares).max() < NEAR[spec.precision]
    with pytest.raises(UserError, match=r"no artifact for a browser is called 'model\.txt'"):
        list(browser_answers(bundle.path, "model.txt", [""]))


def test_a_text_is_never_markup(own_site: Path) -> None:
    attack = "<img src=x onerror='window.caught=1'><script>window.caught=1</script>"

    def rename(manifest: dict[str, Any]) -> None:
        manifest["name"] = attack
        manifest["task"]["labels"] = [
            f"{attack}{i}" for i in range(len(manifest["task"]["labels"]))
        ]

    change_manifest(own_site / "bundle", rename)
    with visit(own_site) as found:
        assert found.page.inner_text("#name") == attack
        assert found.answer(attack).startswith(attack)
        assert found.page.query_selector("main img, main script, header img") is None
        assert found.page.evaluate("window.caught") is None


def test_nothing_is_asked_of_another_host(opened: Visit) -> None:
    _replayed(opened, "model.tflite")
    _replayed(opened, "model.onnx")
    assert any(".wasm" in address for address in opened.requests)
    assert [a for a in opened.requests if not a.startswith((opened.url, "blob:", "data:"))] == []
    # And if a package tried, the page's security policy would stop it.
    refused = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)"
    assert opened.page.evaluate(refused) == "TypeError"
    broken_rule = """new Promise((done) => {
        addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("http://127.0.0.1:9/").catch(() => {});
    })"""
    assert opened.page.evaluate(broken_rule) == "connect-src"


def _set(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(values)


def _of(part: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest[part].update(values)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte in a file": (
        lambda bundle: flip_byte(bundle / "tokenizer.json"),
        r"tokenizer\.json was changed\. its SHA-256 is not the manifest's",
    ),
    "a flipped byte in the artifact": (
        lambda bundle: [flip_byte(path) for path in bundle.glob("model*")],
        r"model\S* was changed\. its SHA-256",
    ),
    "a missing file": (
        lambda bundle: (bundle / "golden.json").unlink(),
        r"golden\.json is missing\. export",
    ),
    "a missing artifact": (
        lambda bundle: [path.unlink() for path in bundle.glob("model*")],
        r"model\S* is missing\. export",
    ),
    "a file cut short": (
        lambda bundle: (bundle / "labels.txt").write_text("a"),
        r"labels\.txt has 1 bytes\. the manifest says \d+",
    ),
    "no manifest": (lambda bundle: (bundle / "manifest.json").unlink(), "is not a bundle"),
    "no JSON": (lambda bundle: (bundle / "manifest.json").write_text("{"), "is not JSON"),
    "a newer schema": (
        lambda bundle: change_manifest(bundle, _set(schema_version=3)),
        r"manifest\.json has schema version 3\. this page reads the versions 1 to 2",
    ),
    "an unknown field": (
        lambda bundle: change_manifest(bundle, _of("task", colour="red")),
        r"manifest\.task has the unknown field 'colour'",
    ),
    "a missing field": (
        lambda bundle: change_manifest(
            bundle, lambda manifest: manifest["tokenizer"].pop("pad_id")
        ),
        r"manifest\.tokenizer lacks the field 'pad_id'",
    ),
    "a wrong type": (
        lambda bundle: change_manifest(bundle, _of("tokenizer", max_length="many")),
        r"manifest\.tokenizer\.max_length has the wrong type",
    ),
    "a path that leaves the bundle": (
        lambda bundle: change_manifest(
            bundle, lambda manifest: manifest["files"][0].update(path="../app.mjs")
        ),
        r'the bundle names the path "\.\./app\.mjs"\. it leaves the folder',
    ),
    "vectors": (
        lambda bundle: change_manifest(
            bundle, _of("task", kind="embedding", activation="l2", labels=[], pooling="mean")
        ),
        "gives sentence vectors and no labels",
    ),
    "Unigram": (
        lambda bundle: change_manifest(
            bundle,
            _of(
                "tokenizer",
                type="Unigram",
                vocab=None,
                lowercase=None,
                strip_accents=None,
                clean_text=None,
                handle_chinese_chars=None,
            ),
        ),
        r"tokenizer\.json is of the type WordPiece\. the manifest says Unigram",
    ),
    "nothing for a browser": (
        lambda bundle: change_manifest(
            bundle,
            lambda manifest: [a.update(format="coreml") for a in manifest["artifacts"]],
        ),
        "has nothing that a browser runs",
    ),
    "another model under the manifest's name": (
        lambda bundle: change_manifest(bundle, _swap_artifacts),
        r"model\S* cannot be loaded|has not the signature",
    ),
}


def _swap_artifacts(manifest: dict[str, Any]) -> None:
    """The smallest artifact, in its bytes, is then a file of the other format."""
    by_size = sorted(
        (a for a in manifest["artifacts"] if a["format"] in ("onnx", "tflite")),
        key=lambda artifact: int(artifact["bytes"]),
    )
    first = by_size[0]
    first["format"] = "tflite" if first["format"] == "onnx" else "onnx"
    first["lengths"] = [manifest["tokenizer"]["max_length"]]


def test_refusals_are_one_sentence_on_the_page(own_site: Path) -> None:
    whole = own_site / "bundle"
    kept = own_site.parent / "kept"
    shutil.copytree(whole, kept)
    with visit(own_site) as found:
        for name, (fault, sentence) in REFUSALS.items():
            shutil.rmtree(whole)
            shutil.copytree(kept, whole)
            fault(whole)
            found.page.goto(found.url)
            found.page.wait_for_selector("#error:not([hidden])")
            told = found.error()
            assert re.search(sentence, told), (name, told)
            assert "\n" not in told
            assert found.page.is_disabled("#text"), name
        assert found.errors == []


def test_a_chosen_folder_replaces_the_bundle_and_a_bad_one_does_not(
    site: Path, bundle: Bundle, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    for folder in (bad, good):
        shutil.copytree(bundle.path, folder)
        change_manifest(folder, _set(name=folder.name))
    flip_byte(bad / "vocab.txt")
    with visit(site) as found:
        found.page.set_input_files("#folder", bad)
        found.page.wait_for_selector("#error:not([hidden])")
        assert "vocab.txt was changed" in found.error()
        assert found.page.inner_text("#name") == bundle.manifest.name
        expected = TextClassifier(bundle, bundle.artifact("model_int8.onnx")).classify(TEXTS[0])
        found.page.wait_for_selector("#text:enabled")
        assert found.answer(TEXTS[0]) == expected.labels[0]  # the old one still answers

        found.page.set_input_files("#folder", good)
        found.page.wait_for_selector("#name:text-is('good')")
        found.page.wait_for_selector("#text:enabled")
        assert found.error() == ""
        assert found.answer(TEXTS[0]) == expected.labels[0]


def test_a_dropped_folder_is_read_and_a_dropped_file_is_not(opened: Visit) -> None:
    read = """async () => {
      const { droppedSource } = await import("/sources.mjs");
      const root = await new Promise((done, failed) =>
        webkitRequestFileSystem(window.TEMPORARY, 1 << 20, (files) => done(files.root), failed));
      const entry = (from, method, name) => new Promise((done, failed) =>
        from[method](name, { create: true }, done, failed));
      const folder = await entry(root, "getDirectory", "my-bundle");
      const inside = await entry(folder, "getDirectory", "sub");
      const file = await entry(inside, "getFile", "a.txt");
      await new Promise((done, failed) => file.createWriter((writer) => {
        writer.onwriteend = done;
        writer.onerror = failed;
        writer.write(new Blob(["rain"]));
      }, failed));
      const source = droppedSource(folder);
      return [source.name, new TextDecoder().decode(await source.read("sub/a.txt")),
              await source.read("sub/b.txt"), await source.read("../x").catch((e) => e.message)];
    }"""
    name, text, absent, outside = opened.page.evaluate(read)
    assert (name, text, absent) == ("my-bundle", "rain", None)
    assert outside == 'the bundle names the path "../x". it leaves the folder.'
    opened.page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "model.onnx"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""")
    opened.page.wait_for_selector("#error:not([hidden])")
    assert opened.error() == "Drop a bundle's folder, not a file."


def test_a_bundle_of_schema_1_opens(own_site: Path) -> None:
    path = own_site / "bundle" / "manifest.json"
    value = json.loads(path.read_bytes())
    manifest = Manifest.from_json(value)
    path.write_text(json.dumps({**manifest.to_json(), "schema_version": 1}), encoding="utf-8")
    with visit(own_site) as found:  # version 1 with version 2's fields is neither
        assert "schema version 1 does not have it" in found.error()
    old = Manifest.from_json(value).to_json()
    for part, names in {
        "task": ("pooling",),
        "tokenizer": ("pad_token", "mask_token", "cls_position", "token_types"),
        "source": ("family",),
    }.items():
        for name in names:
            del old[part][name]
    path.write_text(json.dumps({**old, "schema_version": 1}), encoding="utf-8")
    with visit(own_site) as found:
        assert found.error() == ""
        assert found.page.is_enabled("#text")


def test_the_page_by_keyboard_and_on_a_phone(site: Path) -> None:
    with visit(site, width=360, height=740) as found:
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 360
        reached = set()
        for _ in range(20):
            found.page.keyboard.press("Tab")
            reached.add(found.page.evaluate("document.activeElement.id"))
        assert {"text", "artifact", "folder", "replay"} <= reached
        for control in ("text", "artifact", "folder"):
            assert found.page.query_selector(f"label[for={control}]")
        assert found.page.get_attribute("#answer", "aria-live") == "polite"


def test_the_site_holds_what_a_browser_runs_and_no_more(site: Path, bundle: Bundle) -> None:
    names = {path.name for path in (site / "bundle").iterdir()}
    assert set(ARTIFACTS) <= names
    assert not [name for name in names if name.endswith((".mlpackage", ".aimodel"))]
    assert not list(site.parent.glob(".site.*"))


def test_what_cannot_be_built(bundle_folder: Path, site: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds something that is not such a page"):
        build_site(bundle_folder, full)
    assert (full / "thesis.txt").read_text(encoding="utf-8") == "mine"
    broken = tmp_path / "broken"
    shutil.copytree(bundle_folder, broken)
    flip_byte(broken / "vocab.txt")
    old = tmp_path / "old"
    shutil.copytree(site, old)
    with pytest.raises(UserError, match=r"vocab\.txt was changed"):
        build_site(broken, old)
    assert (old / "index.html").is_file()
    assert not list(tmp_path.glob(".*"))


def test_without_npm_one_sentence_says_so(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolUnavailableError, match=r"npm is not installed.*install Node\.js"):
        build_site(bundle_folder, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_browser_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "chromium"))
    with pytest.raises(UserError, match=r"CHROMIUM names .*there is no such program"):
        find_chromium()
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("android_demo.toolchain.browser._MACOS", "no-such-program")
    with pytest.raises(ToolUnavailableError, match=r"no Chromium .* apt-get install chromium"):
        find_chromium()
    assert missing()


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with make_server(tmp_path) as server:
        port = server.server_address[1]
        with pytest.raises(UserError, match=rf"port {port} cannot be opened.*--port"):
            make_server(tmp_path, int(port))


def test_the_command(bundle_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "web"
    done = CliRunner().invoke(make_app(), ["web", str(bundle_folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "runtimes 24." in done.output
    assert f"--out {out} --serve" in done.output
    assert (out / "vendor" / "NOTICES.txt").is_file()
