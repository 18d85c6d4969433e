"""Kill a run with SIGKILL wherever it hurts; what comes out must not tell."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import killed_run
import pytest
from killed_run import Job, saving_every

from export.settings import FineTuneSettings
from export.training.finetune import fine_tune
from export.training.resume import MARK, RunFolder, run_folder
from runtime.errors import UserError

from support import TINY, TINY_SETTINGS, weather_rows, write_csv

# With dropout, so that random states matter.
SETTINGS = replace(
    TINY_SETTINGS,
    small=replace(TINY, dim=16, hidden_dim=32, dropout=0.2),
    hyperparameters=TINY_SETTINGS.effective.override(epochs=3, batch_size=8, accumulation=2),
)
STEPS = 3 * 7


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 texts: 104 for training, whose last step of an epoch is short (6 × 16 + 8)."""
    return write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", weather_rows()[:130])


def result(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The weights, and training.json without times and without what tells of the interruption."""
    record = json.loads((folder / "training.json").read_bytes())
    for epoch in record["epochs"]:
        del epoch["seconds"]
    for name in ("resumed_from_steps", "transformer", "baselines"):
        del record[name]
    return (folder / "model.safetensors").read_bytes(), record


def settings_of(*, grouped: bool) -> FineTuneSettings:
    chosen = replace(SETTINGS.effective, group_by_length=grouped)
    return saving_every(replace(SETTINGS, hyperparameters=chosen), 3)


@pytest.mark.parametrize(
    ("grouped", "moments"),
    [
        pytest.param(
            True,
            ("step:{a}", "saving:{b}", "evaluating:1", "publishing:1"),
            marks=pytest.mark.slow,
        ),
        (False, ("renaming:{b}", "step:{a}", "evaluating:2", "step:1")),
    ],
    ids=["by-length", "random"],
)
def test_killed_anywhere_the_result_is_the_same(
    rows_file: Path, tmp_path: Path, grouped: bool, moments: tuple[str, ...]
) -> None:
    settings = settings_of(grouped=grouped)
    whole = Job(rows_file, tmp_path / "whole", settings)
    assert killed_run.run(whole) == 0
    chance = random.Random(f"kill {grouped}")
    job = Job(rows_file, tmp_path / "killed", settings)
    for place in moments:
        moment = place.format(a=chance.randint(1, 9), b=chance.randint(1, 2))
        assert killed_run.run(replace(job, die=moment)) == -9, moment
        assert not job.destination.exists()
    assert killed_run.run(job) == 0
    assert result(job.destination) == result(whole.destination)
    record = json.loads((job.destination / "training.json").read_bytes())
    resumed = record["resumed_from_steps"]
    assert resumed == sorted(resumed)
    assert (resumed[-1] == STEPS) == (moments[-1] == "publishing:1")
    assert len(resumed) >= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


@pytest.mark.slow
def test_killed_from_outside_at_a_random_time(rows_file: Path, tmp_path: Path) -> None:
    settings = saving_every(settings_of(grouped=True), 1)
    whole = Job(rows_file, tmp_path / "whole", settings)
    assert killed_run.run(whole) == 0
    job = Job(rows_file, tmp_path / "killed", settings)
    chance = random.Random(3)
    for step in (chance.randint(3, 8), chance.randint(12, 20)):
        process = killed_run.start(job)
        while not (run_folder(job.destination) / f"step-{step:06d}").exists():
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.join()
    assert killed_run.run(job) == 0
    assert result(job.destination) == result(whole.destination)


def test_early_stopping_survives(rows_file: Path, tmp_path: Path) -> None:
    chosen = replace(SETTINGS.effective, patience=1, epochs=12, learning_rate=1e-30)
    settings = saving_every(replace(SETTINGS, hyperparameters=chosen), 2)
    whole = Job(rows_file, tmp_path / "whole", settings)
    assert killed_run.run(whole) == 0
    _, record = result(whole.destination)
    assert record["stopped_early"]
    assert len(record["epochs"]) < 12
    job = Job(rows_file, tmp_path / "killed", settings)
    assert killed_run.run(replace(job, die="publishing:1")) == -9
    assert killed_run.run(job) == 0
    assert result(job.destination) == result(whole.destination)


@pytest.fixture
def unfinished(rows_file: Path, tmp_path: Path) -> Job:
    job = Job(rows_file, tmp_path / "run", settings_of(grouped=True))
    assert killed_run.run(replace(job, die="step:11")) == -9
    assert steps(job) == ["step-000006", "step-000009"]
    return job


def steps(job: Job) -> list[str]:
    return sorted(path.name for path in run_folder(job.destination).glob("step-*"))


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "no-mark", "broken-mark", "all"])
def test_a_damaged_checkpoint_is_left_out(
    unfinished: Job, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(unfinished.destination)
    for name in steps(unfinished) if damage == "all" else ["step-000009"]:
        file = folder / name / "optimizer.safetensors"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "cut":
            file.write_bytes(content[:-1])
        elif damage in ("flip", "all"):
            file.write_bytes(content)
        elif damage == "missing":
            file.unlink()
        elif damage == "no-mark":
            (folder / name / MARK).unlink()
        else:
            (folder / name / MARK).write_text('{"files": ')
    newest = RunFolder(folder).newest()
    assert newest == (None if damage == "all" else folder / "step-000006")
    assert "step-000009 is left out" in capsys.readouterr().err
    assert killed_run.run(unfinished) == 0
    record = json.loads((unfinished.destination / "training.json").read_bytes())
    assert record["resumed_from_steps"] == ([] if damage == "all" else [6])


def test_another_run_is_refused_until_fresh(unfinished: Job, weather: Any, tmp_path: Path) -> None:
    from export.data import DataSettings, load_dataset

    dataset = load_dataset(DataSettings(source=str(unfinished.data)))
    other = replace(unfinished.settings, seed=14)
    with pytest.raises(UserError, match=r"another kind.*seed: 13 there, 14 now.*--fresh"):
        fine_tune(dataset, other, unfinished.destination)
    with pytest.raises(UserError, match="its data"):
        fine_tune(weather, unfinished.settings, unfinished.destination)
    assert len(steps(unfinished)) == 2
    fresh = replace(other, run=replace(other.run, fresh=True))
    done = fine_tune(dataset, fresh, unfinished.destination)
    assert done.record.resumed_from_steps == ()
    assert not run_folder(unfinished.destination).exists()


def test_how_often_it_saves_may_change(unfinished: Job) -> None:
    assert killed_run.run(replace(unfinished, settings=saving_every(unfinished.settings, 7))) == 0


def test_two_runs_in_one_folder(unfinished: Job, weather: Any) -> None:
    run = RunFolder(run_folder(unfinished.destination))
    with run.locked(), pytest.raises(UserError, match="another run is at work"):
        fine_tune(weather, unfinished.settings, unfinished.destination)


def test_a_folder_of_somebody_else(weather: Any, tmp_path: Path) -> None:
    (tmp_path / "out.run").mkdir()
    (tmp_path / "out.run" / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        fine_tune(weather, SETTINGS, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out.run").iterdir()] == ["letter.txt"]


def test_no_pickle_is_written(unfinished: Job) -> None:
    names = {path.name for path in (run_folder(unfinished.destination) / "step-000009").iterdir()}
    assert names == {
        "best.safetensors", "complete.json", "model.safetensors", "optimizer.safetensors",
        "state.json", "trainer_state.json",
    }  # fmt: skip
