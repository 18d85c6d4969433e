from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from typer.testing import CliRunner

from export.cli import app
from export.training.evaluation import evaluate
from export.training.history import Epoch, StepPoint
from export.training.record import TrainingRecord, TransformerCost, write_record
from export.training.report import CURVES, PAGE, tensorboard, write_training_report
from export.training.report.page import beaten_by, training_page
from runtime.errors import MissingExtraError, UserError

HOSTILE = "</td><script>alert(1)</script>&\u202e\x00\"'"


def _record(labels: tuple[str, ...], *, multi_label: bool = False, gain: float = 2.0) -> Any:
    """A record with real evaluations of made-up logits."""
    random = np.random.default_rng(0)
    texts = 6 * len(labels)
    thresholds = tuple(0.3 for _ in labels) if multi_label else None
    found = {}
    for split in ("test", "validation"):
        targets = np.arange(texts) % len(labels)
        hot = np.eye(len(labels))[targets]
        logits = random.normal(size=hot.shape) + gain * hot - 1.0
        found[split] = evaluate(
            logits, hot if multi_label else targets, labels,
            multi_label=multi_label, thresholds=thresholds,
        )  # fmt: skip
    name = "micro_f1" if multi_label else "accuracy"
    half = {split: {name: 0.5, "macro_f1": 0.4} for split in found}
    return TrainingRecord(
        model="small-distilbert",
        revision=None,
        family="distilbert",
        data={
            "name": "made-up", "sha256": "ab" * 32, "labels": list(labels),
            "multi_label": multi_label, "rows": {"test": 7, "train": 9, "validation": 8},
        },
        settings={"model": "small", "hyperparameters": {"epochs": 3}, "small": {"dim": 8}},
        tuning="whole",
        epochs=tuple(Epoch(i, 1.0 / i, 1.1 / i, 0.5 + i / 10, 1e-3 / i, 2.0) for i in (1, 2, 3)),
        best_epoch=2,
        stopped_early=False,
        steps=tuple(StepPoint(i, i / 10, 1.0 / i, 1e-3) for i in range(1, 31)),
        metric_name=name,
        thresholds=thresholds,
        evaluation={split: score.to_json() for split, score in found.items()},
        validation=found["validation"].flat,
        test=found["test"].flat,
        baselines=(
            {
                "name": "bag_of_words", "metrics": half, "training_seconds": 0.5,
                "prediction_ms_per_text": 0.4, "bytes": 10_309, "parameters": 1398, "settings": {},
            },
            {"name": "lstm", "metrics": half},
        ),
        transformer=TransformerCost(61.0, 10.1, 2_272_780, 568_195),
        class_weights=None,
        resumed_from_steps=(),
        processes=1,
        precision="float32",
        compiled=False,
        device="cpu",
        padding={"mode": "grouped", "padded_share": 0.036},
        versions={"python": "3.11.0"},
        seed=13,
    )  # fmt: skip


def _tree(page: str) -> ElementTree.Element:
    """A page is well-formed XML after its doctype."""
    start, body = page.split("\n", 1)
    assert start == "<!DOCTYPE html>"
    page.encode("utf-8")
    return ElementTree.fromstring(body)


def _text(element: ElementTree.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def _values(tree: ElementTree.Element) -> list[float]:
    return [float(data.get("value") or "nan") for data in tree.iter("data")]


def _rows(tree: ElementTree.Element) -> dict[str, list[str]]:
    """First cell → the others, over all tables."""
    rows = [[_text(cell) for cell in row] for row in tree.iter("tr")]
    return {row[0]: row[1:] for row in rows}


def test_a_real_run_is_drawn_and_the_same_run_gives_the_same_bytes(
    checkpoint_folder: Path, tmp_path: Path
) -> None:
    first = Path(shutil.copytree(checkpoint_folder, tmp_path / "a" / "weather"))
    second = Path(shutil.copytree(checkpoint_folder, tmp_path / "b" / "weather"))
    assert write_training_report(first) == [first / CURVES, first / PAGE]
    write_training_report(second)
    write_training_report(second)
    for name in (CURVES, PAGE):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    record = json.loads((first / "training.json").read_bytes())
    tree = _tree((first / PAGE).read_text("utf-8"))
    values = _values(tree)
    for split in ("validation", "test"):
        for figure in ("accuracy", "roc_auc", "ece", "log_loss"):
            assert record["evaluation"][split]["figures"][figure] in values
    assert record["baselines"][0]["metrics"]["test"]["accuracy"] in values
    for epoch in record["epochs"]:
        assert epoch["validation_loss"] in values
    with Image.open(first / CURVES) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert len(set(picture.convert("RGB").resize((200, 60)).get_flattened_data())) > 20


def test_the_page_needs_nothing_else() -> None:
    page = training_page(_record(("a", "b")), "run", b"\x89PNG not really")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "url(" not in page
    (picture,) = _tree(page).iter("img")
    assert (picture.get("src") or "").startswith("data:image/png;base64,")


def test_what_users_name_stays_text() -> None:
    record = _record((HOSTILE, "b", "c"), multi_label=False)
    record = replace(
        record,
        model=HOSTILE,
        data=record.data | {"name": HOSTILE},
        settings={"model": HOSTILE, "hyperparameters": {}},
        versions={"python": HOSTILE},
        extra={"distillation": {"teacher": {"name": HOSTILE}, "temperature": 2.0}},
    )
    page = training_page(record, HOSTILE, None)
    assert "<script" not in page
    assert page.count("<td>") + page.count("<td ") == page.count("</td>")
    assert "\\u202e" in _text(_tree(page))


def test_who_beats_whom_is_said() -> None:
    good, bad = _record(("a", "b", "c"), gain=6.0), _record(("a", "b", "c"), gain=-6.0)
    assert beaten_by(good) == []
    assert beaten_by(bad) == ["bag_of_words", "lstm"]
    assert "does not beat every baseline" not in training_page(good, "run", None)
    assert "does not beat every baseline" in training_page(bad, "run", None)
    rows = _rows(_tree(training_page(good, "run", None)))
    assert rows["bag of words"] == [
        "0.5000", "0.5000", "0.4000", "0.5 s", "0.4 ms", "10.3 kB", "1,398",
    ]  # fmt: skip
    assert rows["LSTM"][3:] == ["–", "–", "–", "–"]
    assert rows["small-distilbert (this model)"][3:] == ["61 s", "10.1 ms", "2.27 MB", "568,195"]


def test_thresholds_and_labels_of_a_multi_label_run() -> None:
    record = _record(("wet", "dim"), multi_label=True)
    tree = _tree(training_page(record, "run", None))
    rows = _rows(tree)
    assert rows["wet"][2] == "0.3000"
    assert "tuned on the validation split" in _text(tree)
    assert "Hamming score 1 − Hamming loss: share of (text, label) decisions" in rows
    assert not [g for g in tree.iter("svg") if "Confusion" in _text(g)]


@pytest.mark.parametrize("classes", [3, 20, 21, 77])
def test_the_confusion_matrix_of_many_classes(classes: int) -> None:
    names = tuple(f"class number {i}" for i in range(classes))
    record = _record(names)
    page = training_page(record, "run", None)
    assert len(page) < 700_000
    (picture,) = (s for s in _tree(page).iter("svg") if "Confusion matrix" in _text(s))
    matrix = record.evaluation["test"]["confusion"]
    cells = [r for r in picture.iter("rect") if "cell" in (r.get("class") or "")]
    assert len(cells) == sum(count > 0 for row in matrix for count in row)
    tooltips = {_text(cell) for cell in cells}
    row, column = next((i, j) for i in range(classes) for j in range(classes) if matrix[i][j])
    total = sum(matrix[row])
    assert f"{names[row]} → {names[column]}: {matrix[row][column]} of {total}" in tooltips
    # Every class is named at both axes, and every cell lies inside the picture.
    drawn = [_text(text) for text in picture.iter("text")]
    assert all(drawn.count(name) == 2 for name in names)
    side = float((picture.get("viewBox") or "").split()[2])
    assert all(float(c.get("x") or 0) + float(c.get("width") or 0) <= side for c in cells)


def test_undefined_figures_have_a_dash_and_a_reason() -> None:
    record = _record(("a", "b"))
    truth = np.zeros(6)
    score = evaluate(np.random.default_rng(1).normal(size=(6, 2)), truth, ("a", "b"),
                     multi_label=False)  # fmt: skip
    record = replace(record, evaluation={"test": score.to_json()})
    text = _text(_tree(training_page(record, "run", None)))
    assert "no text has, or every text has, the label 'a' and 1 more" in text
    assert "ROC-AUC" in text


def test_terms_of_a_distillation_are_shown() -> None:
    record = _record(("a", "b"))
    epochs = tuple(replace(e, terms={"soft": 0.125 * e.number, "hard": 0.5}) for e in record.epochs)
    told = {"teacher": {"name": "big-bert"}, "temperature": 2.0}
    record = replace(record, epochs=epochs, extra={"distillation": told})
    tree = _tree(training_page(record, "run", None))
    assert "teacher: name big-bert" in _text(tree)
    assert 0.375 in _values(tree)


def test_a_run_without_labels_or_baselines() -> None:
    """As a general distillation leaves it."""
    record = replace(
        _record(("a", "b")), evaluation={}, baselines=(), test={}, validation={}, thresholds=None,
        metric_name="masked_accuracy", steps=(), transformer=None,
    )  # fmt: skip
    record = replace(record, data=record.data | {"labels": []})
    assert "Training of run" in _text(_tree(training_page(record, "run", None)))


def test_a_record_of_the_first_version(tmp_path: Path) -> None:
    old = {
        "schema_version": 1, "model": "small-distilbert", "revision": None,
        "data": {"name": "old", "sha256": "00"}, "settings": {"model": "small", "seed": 13},
        "epochs": [{"number": 1, "training_loss": 1.0, "validation_loss": 0.9, "metric": 0.5,
                    "seconds": 3.0}],
        "best_epoch": 1, "validation": {"accuracy": 0.5}, "test": {"accuracy": 0.25},
        "bag_of_words": {"validation": 0.4, "test": 0.125},
        "versions": {"python": "3.11"},
    }  # fmt: skip
    (tmp_path / "training.json").write_text(json.dumps(old))
    write_training_report(tmp_path)
    values = _values(_tree((tmp_path / PAGE).read_text("utf-8")))
    assert {0.25, 0.125} <= set(values)


def test_without_matplotlib_there_is_a_page_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_record(_record(("a", "b")), tmp_path)
    assert write_training_report(tmp_path) == [tmp_path / PAGE]
    note = capsys.readouterr().err
    assert "pip install 'mobile-export[report]'" in " ".join(note.split())
    assert "pip install 'mobile-export[report]'" in _text(_tree((tmp_path / PAGE).read_text()))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(_record(("a", "b")), tmp_path)
    assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 0
    assert (tmp_path / PAGE).is_file()
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        write_training_report(tmp_path)
    with pytest.raises(UserError, match="there is no"):
        write_training_report(tmp_path / "nowhere")


class _Line(torch.nn.Module):
    """As little as Trainer can train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((self.weight(x) - labels) ** 2).mean()}


def _train(scratch: Path, callback: transformers.TrainerCallback, steps: int) -> None:
    rows = [{"x": [float(i), 1.0], "labels": [float(i)]} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(scratch), max_steps=steps, per_device_train_batch_size=4, logging_steps=1,
        report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, log_level="error",
        learning_rate=1e-3,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=_Line(), args=arguments, train_dataset=rows, callbacks=[callback]
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "deep" / "events"
    _train(tmp_path / "scratch", tensorboard.callback(folder), 6)
    events = EventAccumulator(str(folder))
    events.Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(event.value) for event in losses)
    rates = [event.value for event in events.Scalars("train/learning_rate")]
    assert rates == sorted(rates, reverse=True)


def test_tensorboard_missing_or_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        tensorboard.callback(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="tensorboard"):
        tensorboard.callback(tmp_path)
