"""Every family to every format: fine-tuned, exported, judged by the recipes' gates, run as an app.

And each family's own trap, sprung: what a converter or an app gets wrong about just this family.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from export.checkpoint import find_checkpoint, load_classifier
from export.data.task import TextDataset
from export.families import families
from export.families.base import absolute_inputs
from export.pipeline import export_bundle
from export.reference import Reference, reference_from_model
from export.targets import onnx
from export.training.finetune import fine_tune
from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.classify import TextClassifier
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import ParityReport, judge_evidence
from runtime.parity.run import run_artifact, session_settings
from runtime.parity.selftest import selftest

from support import TINY_SETTINGS, export_settings

TARGETS = ("onnx", "tflite", "coreml")
FAMILIES = families()
# A few hard cases in the fast suite (DistilBERT to all formats is `bundle_folder`).
FAST = {("onnx", "xlnet"), ("onnx", "roberta"), ("tflite", "bert")}
# MobileBERT has no normalization, and learns more slowly for it.
EPOCHS = {"mobilebert": 6}


def _marked(*values: Any, fast: bool) -> Any:
    return pytest.param(*values, marks=() if fast else pytest.mark.slow)


TRIPS = [
    _marked(target, name, fast=(target, name) in FAST) for target in TARGETS for name in FAMILIES
]


@dataclass(slots=True)
class Workshop:
    """Checkpoints and bundles, each made when it is first asked for."""

    folder: Path
    data: Path
    dataset: TextDataset

    def checkpoint(self, name: str) -> Path:
        path = self.folder / f"{name}-model"
        if not path.exists():
            settings = dataclasses.replace(
                TINY_SETTINGS,
                model=f"small:{name}",
                hyperparameters=dataclasses.replace(
                    TINY_SETTINGS.hyperparameters, epochs=EPOCHS.get(name, 2)
                ),
            )
            result = fine_tune(self.dataset, settings, path)
            assert result.validation["accuracy"] > 0.9
        return path

    def bundle(self, target: str, name: str) -> Bundle:
        out = self.folder / f"{name}-{target}"
        if not out.exists():
            settings = export_settings(self.checkpoint(name), self.data, out, targets=(target,))
            exported = export_bundle(settings)
            assert exported.bundle == out, [
                (artifact.path, check.figure, check.value, check.limit)
                for artifact in exported.report.artifacts
                for check in artifact.checks
                if check.verdict != "pass"
            ]
        return open_bundle(out)


@pytest.fixture(scope="module")
def workshop(
    tmp_path_factory: pytest.TempPathFactory, weather_file: Path, weather: TextDataset
) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("families"), weather_file, weather)


@pytest.mark.parametrize(("target", "name"), TRIPS)
def test_round_trip(target: str, name: str, workshop: Workshop) -> None:
    family = FAMILIES[name]
    bundle = workshop.bundle(target, name)
    manifest = bundle.manifest
    assert (manifest.source.family, manifest.source.architecture) == (name, family.classifier)
    assert manifest.tokenizer.type in family.tokenizers
    assert manifest.tokenizer.pad_side == family.pad_side
    assert [a.gate for a in manifest.artifacts] == ["pass", "pass"]
    for artifact in manifest.artifacts:
        assert {tensor.name for tensor in artifact.inputs} == {"input_ids", "attention_mask"}
        classifier = TextClassifier(bundle, artifact)
        for text, label in (
            ("the sky is bright today", "sunny"),
            ("our street is soaked through again", "rainy"),
            ("my garden is covered in snow at last", "snowy"),
        ):
            assert classifier.classify(text).labels == (label,)
        for text in ("", "\ud83d", "sky " * 3000, "\U0001f468\u200d\U0001f469 caf\u00e9"):
            assert len(classifier.classify(text).labels) == 1


def _judged(bundle: Bundle, folder: Path, *, reference: Reference | None = None) -> ParityReport:
    """The float artifact judged by the bundle's own gate, converted anew from `reference`."""
    artifact = bundle.artifact("float32")
    golden, gates = read_golden(bundle.path / GOLDEN), read_gates(bundle.path / PARITY)
    copied = Path(shutil.copytree(bundle.path, folder / "copy"))
    if reference is not None:
        onnx.convert(reference, (64,), copied / artifact.path)
    copy = Bundle(copied, dataclasses.replace(bundle.manifest, artifacts=(artifact,)))
    evidence = run_artifact(copy, artifact, golden, session_settings(copy))
    return judge_evidence(copy, golden, gates, [evidence])


def _failed(report: ParityReport) -> set[str]:
    checks = report.artifacts[0].checks
    return {check.figure for check in checks if check.verdict == "fail"}


Inputs = Callable[[Any, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


def _second_segment(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    return absolute_inputs(model, ids, mask) | {"token_type_ids": torch.ones_like(ids)}


def _positions_from_one(
    model: Any, ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """RoBERTa's positions one too early: from the padding's own."""
    every = torch.arange(model.config.max_position_embeddings)
    first = model.config.pad_token_id
    return absolute_inputs(model, ids, mask) | {
        "position_ids": every[first : first + ids.shape[1]][None]
    }


def _neighbours_see_padding(
    model: Any, ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    words = model.base_model.embeddings.word_embeddings(ids)
    # A small model's padding has a row of zeros; the pretrained one's need not.
    words = words + (ids == model.config.pad_token_id)[:, :, None].to(words.dtype)
    inputs = absolute_inputs(model, ids, mask)
    del inputs["input_ids"]
    return inputs | {"inputs_embeds": words}


TRAPS: dict[str, tuple[Inputs, str]] = {
    "bert": (_second_segment, "graph_max_abs"),
    "electra": (_second_segment, "graph_max_abs"),
    "albert": (_second_segment, "graph_max_abs"),
    "roberta": (_positions_from_one, "graph_max_abs"),
    "mobilebert": (_neighbours_see_padding, "padding_rel"),
}


@pytest.mark.parametrize(
    "name", [_marked(name, fast=("onnx", name) in FAST) for name in sorted(TRAPS)]
)
def test_the_familys_trap_fails_the_gate(name: str, workshop: Workshop, tmp_path: Path) -> None:
    inputs, figure = TRAPS[name]
    bundle = workshop.bundle("onnx", name)
    model = load_classifier(find_checkpoint(str(workshop.checkpoint(name))))
    reference = reference_from_model(model)
    reference.module.family = dataclasses.replace(FAMILIES[name], inputs=inputs)
    report = _judged(bundle, tmp_path, reference=reference)
    assert report.verdict == "fail"
    assert figure in _failed(report)


@pytest.mark.slow
def test_one_layer_too_few_of_shared_ones_fails(workshop: Workshop, tmp_path: Path) -> None:
    """ALBERT's file would hold the very same weights."""
    bundle = workshop.bundle("onnx", "albert")
    model = load_classifier(find_checkpoint(str(workshop.checkpoint("albert"))))
    model.config.num_hidden_layers -= 1
    report = _judged(bundle, tmp_path, reference=reference_from_model(model))
    assert report.verdict == "fail"
    assert "graph_max_abs" in _failed(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_planted_fault_is_caught(name: str, workshop: Workshop) -> None:
    """`parity selftest`: what cannot be planted in a family says why."""
    bundle = workshop.bundle("onnx", name)
    golden, gates = read_golden(bundle.path / GOLDEN), read_gates(bundle.path / PARITY)
    manifest = dataclasses.replace(bundle.manifest, artifacts=(bundle.artifact("float32"),))
    result = selftest(Bundle(bundle.path, manifest), golden, gates)
    assert result.verdict == "pass"
    assert result.count("caught", "refused") >= 28
    assert result.count("below") == 0
    assert all(o.note for o in result.outcomes if o.status == "not applicable")


def test_left_padding_turned_right_fails(workshop: Workshop, tmp_path: Path) -> None:
    bundle = workshop.bundle("onnx", "xlnet")
    assert _judged(bundle, tmp_path / "sound").verdict == "pass"
    turned = dataclasses.replace(bundle.manifest.tokenizer, pad_side="right")
    wrong = Bundle(bundle.path, dataclasses.replace(bundle.manifest, tokenizer=turned))
    report = _judged(wrong, tmp_path / "turned")
    assert report.verdict == "fail"
    assert {"padding_rel", "batch_rel"} <= _failed(report)
