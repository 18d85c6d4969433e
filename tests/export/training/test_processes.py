"""Two real processes, joined by gloo, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_run import settings_of
from safetensors.numpy import load_file

from export.data import DataSettings, load_dataset
from export.training.finetune import fine_tune
from export.training.record import TrainingRecord, read_record

from support import ROOT, weather_rows, write_csv

# float32 sums in another order, over 26 steps.
TOLERANCE = 2e-5


def launch(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    return subprocess.run(
        [*launcher, "--nproc-per-node", str(processes), *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def together(data: Path, out: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    return launch(ROOT / "tests" / "process_run.py", data, out, json.dumps(changes))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 texts, 104 for training: the last step of an epoch takes 8 of 16."""
    return write_csv(tmp_path_factory.mktemp("single") / "rows.csv", weather_rows()[:130])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any number of labels; 97 training texts, so that the last step has one text for two."""
    folder = tmp_path_factory.mktemp("several")
    rows = weather_rows()
    for split, part in (
        ("train", rows[:97]),
        ("validation", rows[97:140]),
        ("test", rows[140:180]),
    ):
        lines = [
            json.dumps(
                {"text": t, "labels": [x for x in (y, "calm") if x != "calm" or "calm" in t]}
            )
            for t, y in part
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def losses(record: TrainingRecord) -> list[float]:
    found = [point.loss for point in record.steps]
    return found + [x for e in record.epochs for x in (e.training_loss, e.validation_loss)]


def assert_equal(one: Path, two: Path) -> None:
    first, second = read_record(one), read_record(two)
    assert [point.step for point in first.steps] == [point.step for point in second.steps]
    assert len(first.steps) == 14
    np.testing.assert_allclose(losses(second), losses(first), atol=TOLERANCE, rtol=0)
    assert first.best_epoch == second.best_epoch
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, two))
    for name, tensor in weights.items():
        np.testing.assert_allclose(others[name], tensor, atol=50 * TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "grouped",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["by-length", "random"],
)
def test_two_processes_equal_one_with_the_doubled_batch(
    single: Path, tmp_path: Path, grouped: bool
) -> None:
    done = together(single, tmp_path / "two", group_by_length=grouped)
    assert done.returncode == 0, done.stderr
    dataset = load_dataset(DataSettings(source=str(single)))
    fine_tune(dataset, settings_of(group_by_length=grouped, batch_size=16), tmp_path / "one")
    assert_equal(tmp_path / "one", tmp_path / "two")
    assert read_record(tmp_path / "two").processes == 2
    assert done.stderr.count("epoch 1: training loss") == 1, "only the first one speaks"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_several_labels_with_weights_and_a_lonely_last_text(several: Path, tmp_path: Path) -> None:
    done = together(several, tmp_path / "two", class_weights="balanced")
    assert done.returncode == 0, done.stderr
    dataset = load_dataset(DataSettings(source=str(several)))
    assert len(dataset.splits["train"]) == 97
    fine_tune(dataset, settings_of(class_weights="balanced", batch_size=16), tmp_path / "one")
    assert_equal(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_process_that_fails_ends_the_other(single: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = together(single, tmp_path / "out", fails=1)
    assert done.returncode != 0
    assert "bad day" in done.stderr
    assert time.monotonic() - began < 120, "nobody waits for half an hour"
    assert not (tmp_path / "out").exists()
    # Both go on together from what the first one had saved.
    done = together(single, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "continuing from step 4 of 14" in done.stderr
    assert read_record(tmp_path / "out").resumed_from_steps == (4,)


@pytest.mark.slow
def test_the_command_line_under_torchrun(single: Path, tmp_path: Path) -> None:
    options = ["--data", single, "--epochs", "1", "--baselines", "none", "--out", tmp_path / "out"]
    done = launch("-m", "export", "finetune", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept epoch 1") == 1
    assert read_record(tmp_path / "out").processes == 2
