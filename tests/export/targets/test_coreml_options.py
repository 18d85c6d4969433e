"""What is refused, in a line that says what to choose; classifiers and awkward labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import coreml_job, lively_classifier, padded_batch, torch_logits

from export.reference import LogitsOnly
from export.targets import coreml, targets
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.errors import UserError

AWKWARD = ("it's", 'say "hi"', "naïve 日本語", "🎉 party", "a,b;c", "\\back", " padded ", "", "0")


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        (
            (8, 16),
            {"shapes": "enumerated"},
            "iOS16 cannot enumerate .* choose the deployment target iOS18",
        ),
        (
            (8, 16),
            {"shapes": "enumerated", "deployment_target": "iOS17"},
            "iOS17 cannot enumerate .* or the shapes fixed or range",
        ),
        (
            (8, 16),
            {"shapes": "range", "layout": "ane"},
            "layout ane needs lengths .* choose the shapes fixed or enumerated",
        ),
        ((16, 8), {}, "not ascending"),
        ((), {}, "not ascending"),
        ((1, 8), {}, "no room for the special tokens"),
        ((8, 65), {}, "65 is above the model's 64 positions"),
    ],
)
def test_refused(
    tmp_path: Path, lengths: tuple[int, ...], options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        coreml.make(coreml_job(lengths=lengths, **options), tmp_path / "model.mlpackage")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_target_is_found_and_available() -> None:
    assert targets()["coreml"] is coreml  # type: ignore[comparison-overlap]
    assert coreml.available() is None
    assert {name: allowed[0] for name, allowed in coreml.OPTIONS.items()} == {
        "deployment_target": "iOS16",
        "compute_precision": "float16",
        "shapes": "fixed",
        "layout": "default",
        "outputs": "logits",
    }


def classified(package: Path, ids: Any, mask: Any) -> list[dict[str, Any]]:
    executor = Executor(read_package(package), ExecutorSettings(mode="f32"))
    return [
        executor.run({"input_ids": ids[row : row + 1], "attention_mask": mask[row : row + 1]})
        for row in range(len(ids))
    ]


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
@pytest.mark.parametrize(
    "labels", [AWKWARD, ("only",), tuple(f"label number {n}" for n in range(77))]
)
def test_classifier(tmp_path: Path, kind: str, labels: tuple[str, ...]) -> None:
    package = tmp_path / "model.mlpackage"
    model = lively_classifier(num_labels=len(labels))
    options = {"outputs": "classifier", "compute_precision": "float32"}
    coreml.make(coreml_job(model, labels=labels, kind=kind, **options), package)
    read = read_package(package)
    assert [(feature.name, feature.kind) for feature in read.outputs] == [
        ("classLabel", "string"),
        ("classLabel_probs", "dictionary"),
        ("logits", "multiArray"),
    ]
    assert (read.predicted_feature_name, read.predicted_probabilities_name) == (
        "classLabel",
        "classLabel_probs",
    )
    ids, mask = padded_batch(32)
    logits = torch.tensor(torch_logits(LogitsOnly(model), ids, mask))
    probabilities = (logits.softmax(-1) if kind == "single_label" else logits.sigmoid()).numpy()
    for row, result in enumerate(classified(package, ids, mask)):
        assert tuple(result["classLabel_probs"]) == labels
        given = np.array(list(result["classLabel_probs"].values()))
        np.testing.assert_allclose(given, probabilities[row], rtol=0, atol=2e-5)
        assert result["classLabel"] == labels[int(probabilities[row].argmax())]
        np.testing.assert_allclose(result["logits"][0], logits[row], rtol=0, atol=2e-5)


@pytest.mark.parametrize("label", ["two\nlines", "half \ud83d", "nul\x00"])
def test_a_label_that_is_no_text_is_refused(tmp_path: Path, label: str) -> None:
    job = coreml_job(labels=("fine", label, "also fine"), outputs="classifier")
    with pytest.raises(UserError, match="cannot carry the label"):
        coreml.make(job, tmp_path / "model.mlpackage")
