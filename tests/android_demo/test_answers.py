"""The same texts through several programs: equal answers are told apart from others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from android_demo.toolchain.answers import (
    BROWSER,
    JVM,
    PYTHON,
    Column,
    columns,
    compare,
    fitting,
    read_texts,
)
from android_demo.toolchain.jvm import Answer, JvmProgram
from runtime.bundle import MANIFEST, Bundle, open_bundle
from runtime.errors import UserError
from runtime.files import canonical_json, sha256_of

from support import ROOT

TEXTS = [
    "The sky is BRIGHT today",
    "our street is frozen over, they say",
    "",
    "caf\u00e9\nna\u00efve \U0001f600 \ud800 [MASK] \u6f22\u5b57",
    "wet " * 300,
]


def _write(path: Path, texts: Sequence[str]) -> Path:
    path.write_text(json.dumps(texts), encoding="utf-8")
    return path


def _answers(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "android_demo.toolchain", "answers", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_python_and_the_jvm_say_the_same(
    jvm: JvmProgram, bundle_folder: Path, tmp_path: Path
) -> None:
    texts = _write(tmp_path / "t.json", TEXTS)
    kept = tmp_path / "answers.json"
    done = _answers(bundle_folder, "--texts", texts, "--through", "jvm", "--json", "--out", kept)
    assert done.returncode == 0, done
    every = json.loads(kept.read_bytes())
    assert every["texts"] == TEXTS
    assert every["answers"]["jvm model.tflite"] == every["answers"]["python model.tflite"]
    assert [len(answer["labels"]) for answer in every["answers"]["jvm model.tflite"]] == [1] * 5
    value = json.loads(done.stdout)
    assert value["same"] and value["texts"] == len(TEXTS)
    assert [(c["here"], c["there"], c["max_abs"]) for c in value["comparisons"]] == [
        ("python model.tflite", "jvm model.tflite", 0.0),
        ("python model_int8.tflite", "jvm model_int8.tflite", 0.0),
    ]


def test_only_programs_that_fit_the_bundle_are_asked_by_default(bundle: Bundle) -> None:
    def only(*formats: str) -> Bundle:
        artifacts = tuple(a for a in bundle.manifest.artifacts if a.format in formats)
        return replace(bundle, manifest=replace(bundle.manifest, artifacts=artifacts))

    assert fitting(only("onnx")) == [PYTHON, BROWSER]
    assert fitting(only("tflite", "coreml")) == [PYTHON, JVM, BROWSER]
    assert fitting(only("coreml")) == [PYTHON]


def _with_other_python(bundle: Path, tmp_path: Path) -> tuple[Bundle, Path]:
    """A bundle, and a copy of it whose tokenizer keeps accents."""
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    tokenizer = json.loads((other / "tokenizer.json").read_bytes())
    tokenizer["normalizer"]["strip_accents"] = False
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    manifest = json.loads((other / MANIFEST).read_bytes())
    manifest["tokenizer"]["strip_accents"] = False
    for entry in manifest["files"]:
        if entry["path"] == "tokenizer.json":
            path = other / "tokenizer.json"
            entry |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (other / MANIFEST).write_text(canonical_json(manifest), encoding="utf-8")
    return open_bundle(bundle), other


def test_a_program_with_another_tokenizer_is_found_out(
    jvm: JvmProgram, bundle_folder: Path, tmp_path: Path
) -> None:
    bundle, other = _with_other_python(bundle_folder, tmp_path)
    python = columns(bundle, [JVM])[0]
    wrong = Column(JVM, python.artifact, lambda t: jvm.answers(other, python.artifact, t))
    found = compare(bundle, [python, wrong], ["all is well", "it is w\u00e9t in town"])
    (comparison,) = found
    assert not comparison.same and comparison.other_ids == 1
    difference = next(d for d in comparison.differences if d.what == "ids")
    assert difference.text == "it is w\u00e9t in town"
    assert difference.smallest == "\u00e9"
    assert difference.here["ids"] != difference.there["ids"]


def test_other_logits_and_labels_are_counted(bundle: Bundle) -> None:
    python = columns_of_python(bundle)

    def wrong(texts: Sequence[str]) -> list[Answer]:
        given = python.ask(texts)
        for text, answer in zip(texts, given, strict=True):
            answer["logits"][0] += 0.25
            if "bright" in text:
                answer["labels"] = ["rainy"]
        return given

    texts = ["the sky is bright", "all bright and golden", "the lake is frozen over"]
    other = Column(JVM, python.artifact, wrong)
    (comparison,) = compare(bundle, [python, other], texts)
    assert (comparison.other_ids, comparison.other_labels) == (0, 2)
    assert comparison.max_abs == pytest.approx(0.25, abs=1e-6)
    (difference,) = comparison.differences
    assert difference.what == "labels" and difference.smallest == "bright"


def test_a_logit_that_is_no_number_is_infinitely_far(bundle: Bundle) -> None:
    python = columns_of_python(bundle)

    def wrong(texts: Sequence[str]) -> list[Answer]:
        given = python.ask(texts)
        given[0]["logits"][0] = float("nan")
        return given

    (comparison,) = compare(bundle, [python, Column(JVM, python.artifact, wrong)], ["wet"])
    assert comparison.max_abs == float("inf")
    assert json.loads(canonical_json(comparison.to_json()))["max_abs"] == "inf"


def columns_of_python(bundle: Bundle) -> Column:
    """Python with the float TFLite file, whatever else can be had."""
    from android_demo.toolchain.answers import _python

    return Column("python", "model.tflite", _python(bundle, bundle.artifact("model.tflite")))


def test_a_difference_gives_status_1_and_shows_the_text_escaped(
    bundle_folder: Path, tmp_path: Path
) -> None:
    # The command itself, with a program that answers like the JVM with another tokenizer.
    script = (
        "import sys\n"
        "from android_demo.toolchain import answers\n"
        "from android_demo.toolchain.cli import main\n"
        "def fault(bundle, say):\n"
        "    def ask_with(artifact):\n"
        "        ask = answers._python(bundle, bundle.artifact(artifact))\n"
        "        return lambda texts: ask([t.replace('\\u00e9', 'q') for t in texts])\n"
        "    return ask_with\n"
        "answers._jvm = fault\n"
        "main()\n"
    )
    texts = _write(tmp_path / "t.json", ["fine", "caf\u00e9"])
    arguments = ["answers", str(bundle_folder), "--texts", str(texts), "--through", "jvm"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done
    assert "DIFFERENT" in done.stdout
    assert 'other ids, smallest text: "\\u00e9"' in done.stdout


def test_texts_are_read_from_lines_and_from_json(tmp_path: Path) -> None:
    lines = tmp_path / "t.txt"
    lines.write_bytes(b"one\r\ntw\xc3\xb6\n\nfour")
    assert read_texts(lines) == ["one", "tw\u00f6", "", "four"]
    assert read_texts(_write(tmp_path / "t.json", TEXTS)) == TEXTS
    rows = tmp_path / "t.jsonl"
    rows.write_text('"a\\nb"\n\n"\\ud800"\n', encoding="utf-8")
    assert read_texts(rows) == ["a\nb", "\ud800"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.json", b"[1]", "something other than strings"),
        ("t.json", b'{"a": 1}', "something other than strings"),
        ("t.jsonl", b"no json", "is not JSON"),
        ("t.txt", b"", "has no text"),
        ("t.txt", b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_texts(tmp_path / name)


def test_mistakes_on_the_command_line_are_one_sentence(bundle_folder: Path, tmp_path: Path) -> None:
    texts = _write(tmp_path / "t.json", ["a"])
    mistakes: dict[tuple[str | Path, ...], str] = {
        (bundle_folder, "--texts", texts, "--through", "fax"): "there is no program 'fax'",
        (bundle_folder, "--texts", texts, "--through", "python"): "nothing is compared",
        (bundle_folder, "--texts", tmp_path / "none.txt"): "No such file",
        (tmp_path, "--texts", texts): "is not a bundle",
    }
    for arguments, sentence in mistakes.items():
        done = _answers(*arguments)
        assert done.returncode == 2 and sentence in done.stderr, done
        assert "Traceback" not in done.stderr


def test_the_browser_says_the_same(jvm: JvmProgram, bundle_folder: Path, tmp_path: Path) -> None:
    from android_demo.toolchain import browser

    if reason := browser.missing():
        pytest.skip(reason)
    texts = _write(tmp_path / "t.json", TEXTS)
    done = _answers(bundle_folder, "--texts", texts, "--through", "jvm,browser", "--json")
    assert done.returncode == 0, done
    found = {(c["here"], c["there"]): c["max_abs"] for c in json.loads(done.stdout)["comparisons"]}
    assert found["python model.onnx", "browser model.onnx"] < 1e-4
    # Two formats, two programs, one model.
    assert found["jvm model.tflite", "browser model.onnx"] is None
