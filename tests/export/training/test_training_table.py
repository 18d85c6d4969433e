from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from export.training.conclude import FineTuned
from export.training.record import TransformerCost, read_record
from export.training.table import print_training


@pytest.fixture
def result(checkpoint_folder: Path, tmp_path: Path) -> FineTuned:
    """The fixture's run, as `fine_tune` gives it."""
    folder = Path(shutil.copytree(checkpoint_folder, tmp_path / "run"))
    record = read_record(folder)
    words = record.baselines[0]["metrics"]
    return FineTuned(
        checkpoint=folder,
        epochs=record.epochs,
        best=record.best_epoch,
        metric_name=record.metric_name,
        validation=record.validation,
        test=record.test,
        baseline=words["validation"]["accuracy"],
        baseline_test=words["test"]["accuracy"],
        parameters=1,
        seconds=200.0,
        record=record,
    )


def _printed(result: FineTuned, capsys: pytest.CaptureFixture[str]) -> str:
    print_training(result)
    return capsys.readouterr().out


def test_epochs_scores_and_baselines_are_printed(
    result: FineTuned, capsys: pytest.CaptureFixture[str]
) -> None:
    text = _printed(result, capsys)
    record = json.loads((result.checkpoint / "training.json").read_bytes())
    for epoch in record["epochs"]:
        assert f"{epoch['validation_loss']:.4f}" in text
    lines = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip("│").split("│") for line in text.splitlines() if "│" in line)
    }
    own = lines["small-distilbert"]
    assert own[1] == f"{record['test']['accuracy']:.4f}"
    assert own[-1] == f"{record['transformer']['parameters']:,}"
    (bag,) = record["baselines"]
    assert lines["bag of words"][:3] == [
        f"{bag['metrics']['validation']['accuracy']:.4f}",
        f"{bag['metrics']['test']['accuracy']:.4f}",
        f"{bag['metrics']['test']['macro_f1']:.4f}",
    ]
    assert f"kept epoch {record['best_epoch']}; 3 min 20 s in all" in text


def test_a_better_baseline_is_named(result: FineTuned, capsys: pytest.CaptureFixture[str]) -> None:
    record = result.record
    (bag,) = record.baselines
    sure = {"metrics": {"test": {"accuracy": 2.0}}, "name": "lstm"}
    best = replace(record, baselines=(bag, sure))
    assert "does not beat the LSTM" in _printed(replace(result, record=best), capsys)
    worse = {"metrics": {"test": {"accuracy": -1.0}}, "name": "lstm"}
    worst = replace(record, baselines=(worse,))
    assert "does not beat" not in _printed(replace(result, record=worst), capsys)


def test_tuned_thresholds_terms_and_what_is_missing(
    result: FineTuned, capsys: pytest.CaptureFixture[str]
) -> None:
    record = replace(
        result.record,
        thresholds=(0.1234, 0.4, 0.45),
        epochs=tuple(replace(e, terms={"soft": 0.1875}) for e in result.record.epochs),
        transformer=TransformerCost(1.0, 2.0, 3_000_000, 4),
        test={},
        stopped_early=True,
    )
    text = _printed(replace(result, record=record), capsys)
    assert "thresholds tuned on validation, 0.12 to 0.45" in text
    assert "0.1875" in text
    assert "soft" in text
    assert "stopped early" in text
    assert "3.0 MB" in text


def test_names_are_no_markup(result: FineTuned, capsys: pytest.CaptureFixture[str]) -> None:
    record = replace(result.record, model="[red]x[/nothing]")
    assert "[red]x[/nothing]" in _printed(replace(result, record=record), capsys)
