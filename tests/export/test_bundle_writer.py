from __future__ import annotations

import json
from pathlib import Path

from export.data.task import Example
from export.golden_writer import choose_validation
from runtime.bundle import Bundle
from runtime.golden import AWKWARD, VALIDATION, read_golden


def test_the_choice_of_texts_depends_on_the_texts_alone() -> None:
    rows = tuple(Example(f"text {i}", (i % 2,)) for i in range(100))
    chosen = choose_validation(rows, 30)
    assert len(chosen) == 30
    assert list(chosen) == sorted(chosen, key=rows.index), "in the order of the data"
    assert set(choose_validation(rows[::-1], 30)) == set(chosen)
    assert choose_validation(rows, 100) == rows
    more = choose_validation((*rows, Example("another", (0,))), 31)
    assert len(set(more) & set(chosen)) >= 29


def test_golden_holds_every_validation_text_and_all_edges(bundle_folder: Path) -> None:
    golden = read_golden(bundle_folder / "golden.json")
    manifest = json.loads((bundle_folder / "manifest.json").read_bytes())
    validation = golden.rows(VALIDATION)
    assert len(validation) == manifest["data"]["rows"]["validation"]
    assert all(golden.cases[i].targets is not None for i in validation)
    lengths = {len(golden.cases[i].input_ids) for i in golden.rows(AWKWARD)}
    assert {2, 31, 32, 33, 63, 64} <= lengths
    assert len({case.name for case in golden.cases}) == len(golden.cases)


def test_the_card_says_what_matters(bundle_folder: Path, bundle: Bundle) -> None:
    text = (bundle_folder / "README.md").read_text(encoding="utf-8")
    for word in (
        "`model_int8.tflite`",
        "PASS",
        "softmax",
        "`rainy`",
        "seq_32",
        "no phone took part",
        "not run on Apple hardware",
        "int8 at 8.",
        "iOS 16, macOS 13",
    ):
        assert word in text, word
    for artifact in bundle.manifest.artifacts:
        assert artifact.path in text
