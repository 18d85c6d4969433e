"""The iOS package, compiled: against Hugging Face, against Python, against damaged bundles.

It needs Debian's Swift (470 MB, fetched once). Core ML is not there, so a model's logits come from
the reference executor in Python; the Swift code on both sides of the model is the app's own.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers

from android_demo.toolchain.downloads import ROOT
from android_demo.toolchain.swift import (
    IOS,
    SwiftProgram,
    SwiftTools,
    run_tests,
    style_problems,
    type_errors,
)
from export.families import families
from export.tokenizer_training import train_tokenizer
from runtime.bundle import GOLDEN, MANIFEST, Bundle
from runtime.classify import TextClassifier
from runtime.decisions import probabilities
from runtime.files import canonical_json
from runtime.golden import read_golden
from runtime.parity.results import read_results
from runtime.sessions.base import SessionSettings
from runtime.tokenizer import TextTokenizer, batch_of

from jvm_support import TextMaker, alphabet, awkward_texts, every_code_point, tokenizer_bundle
from support import weather_rows
from swift_support import copied, program_or_skip, rehash, tools_or_skip

pytestmark = pytest.mark.slow

SEED = 7
FLAGS = ("lowercase", "strip_accents", "clean_text", "handle_chinese_chars")
SURROGATE = re.compile("[\ud800-\udfff]")


@pytest.fixture(scope="module")
def tools() -> SwiftTools:
    return tools_or_skip()


@pytest.fixture(scope="module")
def swift() -> SwiftProgram:
    return program_or_skip()


@pytest.fixture(scope="module")
def wide_tokenizer() -> Tokenizer:
    """BERT's, whose vocabulary has characters of every kind."""
    letters = alphabet(random.Random(SEED), 30) + [chr(point) for point in range(0x21, 0x250)]
    texts = [text for text, _ in weather_rows()]
    texts += [
        "".join(c for c in letters if not SURROGATE.match(c)),
        "漢字 ß 가각 ᄀ 한국 naïve Ärger",
    ]
    return train_tokenizer(families()["bert"], texts, 6000)


def _differing(
    swift: SwiftProgram, bundle: Path, python: TextTokenizer, texts: Sequence[str], form: str
) -> list[str]:
    # A Swift string cannot hold half a surrogate pair; Python's tokenizer replaces it likewise.
    whole = [SURROGATE.sub("\ufffd", text) for text in texts]
    found = swift.encode(bundle, whole, form)
    pairs = zip(whole, found, strict=True)
    return [text for text, encoded in pairs if encoded != python.encode(text)]


def test_the_packages_own_tests_pass_and_the_gate_reads_their_results(
    tools: SwiftTools, bundle: Bundle, tmp_path: Path
) -> None:
    tests = run_tests(tools, bundle.path, tmp_path)
    assert tests.failures == ()
    assert tests.skipped == 0 and tests.tests >= 16
    value = json.loads((tmp_path / "results.json").read_bytes())
    schema = ROOT / "runtime" / "parity" / "results.schema.json"
    jsonschema.validate(value, json.loads(schema.read_bytes()))
    golden = read_golden(bundle.path / GOLDEN)
    (evidence,) = read_results(tmp_path / "results.json", bundle, golden)
    assert len(evidence.rows) == len(golden.cases)
    assert (evidence.wrong_ids, evidence.wrong_labels) == ((), ())
    # Recorded by nothing that ran, and it says so.
    assert evidence.environment["runtime"].startswith("none")


def test_a_wrong_golden_text_fails_the_packages_tests(
    tools: SwiftTools, bundle: Bundle, tmp_path: Path
) -> None:
    copy = copied(bundle, tmp_path)
    value = json.loads((copy / GOLDEN).read_bytes())
    value["cases"][3]["input_ids"][1] += 1
    (copy / GOLDEN).write_text(canonical_json(value, indent=None))
    rehash(copy, GOLDEN)
    tests = run_tests(tools, copy)
    assert any("testEveryTextGivesTheGoldenIDs" in line for line in tests.failures)
    assert any(value["cases"][3]["name"] in line for line in tests.failures)


def test_without_a_bundle_its_tests_are_skipped_and_counted(tools: SwiftTools) -> None:
    tests = run_tests(tools)
    assert tests.tests >= 16 and (tests.skipped, tests.failures) == (3, ())


def test_core_ml_is_called_as_apple_documents_it(tools: SwiftTools) -> None:
    assert type_errors(tools) == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("MobileExport/CoreMLTextModel.swift", "load(contentsOf:", "load(contentOf:"),
        ("MobileExport/CoreMLTextModel.swift", "multiArrayValue", "multiArray"),
        (
            "MobileExport/CoreMLTextModel.swift",
            "await MLModel.compileModel",
            "await MLModel.compile",
        ),
        ("MobileExport/CoreMLTextModel.swift", "MLShapedArray<Int32>", "MLShapedArray<String>"),
        ("mobile-text/Main.swift", ".coreML(bundle: folder,", ".coreML(folder: folder,"),
    ],
)
def test_a_wrong_call_of_core_ml_is_found(
    tools: SwiftTools, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    shutil.copytree(IOS / "Sources", tmp_path / "Sources")
    file = tmp_path / "Sources" / name
    text = file.read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    assert any(file.name in line for line in type_errors(tools, tmp_path))


def test_sources_are_formatted(tools: SwiftTools) -> None:
    assert style_problems(tools) == []


@pytest.mark.parametrize("flags", itertools.product((True, False), repeat=4))
def test_ids_are_hugging_faces(
    swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer, flags: tuple[bool, ...]
) -> None:
    tokenizer = Tokenizer.from_str(wide_tokenizer.to_str())
    tokenizer.normalizer = normalizers.BertNormalizer(**dict(zip(FLAGS, flags, strict=True)))
    python = tokenizer_bundle(tmp_path / "b", tokenizer, families()["bert"], 64)
    maker = TextMaker(
        sum(flag << bit for bit, flag in enumerate(flags)), list(tokenizer.get_vocab())
    )
    texts = [*maker.texts(2500), *awkward_texts()]
    assert _differing(swift, tmp_path / "b", python, texts, "tflite") == []


@pytest.mark.parametrize("flags", [(True, True, True, True), (True, False, False, False)])
def test_ids_are_hugging_faces_on_every_code_point(
    swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer, flags: tuple[bool, ...]
) -> None:
    tokenizer = Tokenizer.from_str(wide_tokenizer.to_str())
    tokenizer.normalizer = normalizers.BertNormalizer(**dict(zip(FLAGS, flags, strict=True)))
    python = tokenizer_bundle(tmp_path / "b", tokenizer, families()["bert"], 1024)
    assert _differing(swift, tmp_path / "b", python, every_code_point(), "tflite") == []


def test_marks_are_put_in_canonical_order(
    swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer
) -> None:
    """With a vocabulary that has every mark: unknown words would hide their order."""
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    marks = [c for c in points if unicodedata.combining(c)]
    composed = [c for c in points if unicodedata.normalize("NFD", c) != c and len(c.lower()) == 1]
    pieces = sorted(
        {p for c in [*marks, *composed, *"aeoкя"] for p in unicodedata.normalize("NFD", c)}
    )
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{p}" for p in pieces)]
    tokenizer = Tokenizer.from_str(wide_tokenizer.to_str())
    tokenizer.model = models.WordPiece({t: i for i, t in enumerate(vocab)}, unk_token="[UNK]")
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, families()["bert"], 64)
    rng = random.Random(SEED)
    kept = [c for c in marks if unicodedata.category(c) != "Mn"]
    texts = [
        "".join(
            rng.choice((rng.choice(composed), rng.choice(marks), rng.choice(kept), "a"))
            for _ in range(8)
        )
        for _ in range(20_000)
    ]

    def stripped(text: str) -> list[str]:
        return [c for c in text if unicodedata.category(c) != "Mn"]

    apart = ["".join(unicodedata.normalize("NFD", c) for c in text) for text in texts]
    order_matters = [
        text
        for text, parts in zip(texts, apart, strict=True)
        if stripped(parts) != stripped(unicodedata.normalize("NFD", text))
    ]
    assert len(order_matters) > 1000
    assert _differing(swift, tmp_path / "b", python, texts, "tflite") == []


def test_added_tokens(swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer) -> None:
    tokenizer = Tokenizer.from_str(wide_tokenizer.to_str())
    tokenizer.add_tokens(
        [
            AddedToken("Garden Party", normalized=True),
            AddedToken("lone", single_word=True),
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, special=True),
            AddedToken("<right>>", normalized=False),
        ]
    )
    python = tokenizer_bundle(tmp_path / "b", tokenizer, families()["bert"], 64)
    added = ["garden party", "GÁRDEN PARTY", "lone", "alone", "lone!", "<left>", "<right>", "<left"]
    added += ["<right>>", " \t<left> ", "\u3000<right>\u00a0 ", "ＬＯＮＥ", "Lone", "lone_", "lone͡"]
    texts = TextMaker(SEED, added).texts(3000)
    assert _differing(swift, tmp_path / "b", python, texts, "tflite") == []


@pytest.mark.parametrize("max_length", [2, 3, 8])
def test_truncation(
    swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer, max_length: int
) -> None:
    python = tokenizer_bundle(tmp_path / "b", wide_tokenizer, families()["bert"], max_length)
    texts = TextMaker(SEED, list(wide_tokenizer.get_vocab())).texts(500)
    assert {python.encode(text)[1] for text in texts} == {True, False}
    assert _differing(swift, tmp_path / "b", python, texts, "tflite") == []


@pytest.mark.parametrize(
    ("flag", "text"),
    [("strip_accents", "the café"), ("lowercase", "Golden"), ("clean_text", "a\0b")],
)
def test_a_wrong_flag_is_caught(
    swift: SwiftProgram, tmp_path: Path, wide_tokenizer: Tokenizer, flag: str, text: str
) -> None:
    python = tokenizer_bundle(tmp_path / "b", wide_tokenizer, families()["bert"], 64)
    value = json.loads((tmp_path / "b" / MANIFEST).read_bytes())
    value["tokenizer"][flag] = not value["tokenizer"][flag]
    (tmp_path / "b" / MANIFEST).write_text(canonical_json(value))
    assert _differing(swift, tmp_path / "b", python, ["sun", text], "tflite") == [text]


def test_text_to_label_is_pythons(swift: SwiftProgram, bundle: Bundle) -> None:
    """Swift's ids through the reference executor, and Swift's decision on the logits."""
    artifact = next(a for a in bundle.manifest.artifacts if a.format == "coreml")
    settings = SessionSettings.of(bundle.manifest.tokenizer, backend="reference")
    python = TextClassifier(bundle, artifact, settings)
    texts = TextMaker(SEED, [text for text, _ in weather_rows()]).texts(60)
    texts = [SURROGATE.sub("\ufffd", text) for text in texts]
    spec = bundle.manifest.tokenizer
    rows = [
        batch_of([ids], spec.pad_id, spec.pad_side) for ids, _ in swift.encode(bundle.path, texts)
    ]
    logits = [python.session.run(*row)[0] for row in rows]
    answers = swift.decide(bundle.path, logits)
    for text, (labels, shares) in zip(texts, answers, strict=True):
        wanted = python.classify(text)
        assert tuple(labels) == wanted.labels
        order = [wanted.probabilities[label] for label in bundle.manifest.task.labels]
        assert shares == pytest.approx(order, abs=1e-12)


def test_decisions_are_pythons_for_any_logits(swift: SwiftProgram, bundle: Bundle) -> None:
    labels = bundle.manifest.task.labels
    values = (-1e30, -100.0, -0.5, -0.0, 0.0, 0.5, 0.5000001, 100.0, 1e30)
    # Logits are float32 everywhere.
    floats = [float(np.float32(value)) for value in values]
    rows = [list(row) for row in itertools.product(floats, repeat=len(labels))]
    names = [found for found, _ in swift.decide(bundle.path, rows)]
    shares = probabilities(rows, bundle.manifest.task)
    assert names == [[labels[row.index(max(row))]] for row in rows]
    assert [s for _, s in swift.decide(bundle.path, rows[:50])] == [
        pytest.approx(list(share), abs=1e-15) for share in shares[:50]
    ]
    found = swift.decide(bundle.path, [[float("nan")] * len(labels), [1.0] * len(labels)])
    assert [answer[0] for answer in found] == [[labels[0]], [labels[0]]]


def test_a_command_that_needs_core_ml_says_so(swift: SwiftProgram, bundle: Bundle) -> None:
    done = swift.run("classify", bundle.path, "a text")
    assert done.status == 2
    assert "Core ML is on Apple's systems alone" in done.errors
