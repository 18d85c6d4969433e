"""What a teacher is worth, measured on the embedded sample (minutes; run with -m slow -s)."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from export.data import DataSettings, load_dataset
from export.settings import FROM_SCRATCH, FineTuneSettings, ModelSize, RunOptions
from export.training.distill.settings import DistillSettings
from export.training.distill.task import distill_task
from export.training.finetune import fine_tune
from runtime.console import note

LABELLED, UNLABELLED, SEEDS = 200, 2000, 6
TEACHER = ModelSize(vocab_size=1500, dim=64, layers=2, heads=4, hidden_dim=128)
STUDENT = ModelSize(vocab_size=1500, dim=32, layers=1, heads=4, hidden_dim=64, dropout=0.0)
RUN = RunOptions(baselines=())


@pytest.mark.slow
def test_the_gain_on_the_sample(tmp_path: Path) -> None:
    """A teacher of all 4000 texts; a student with 200 labels, with and without its answers to more.

    Both have as many rows an epoch (without: the labelled ones eleven times over), the same batch
    size, epochs and seed, and keep the epoch that is best on the same validation texts. The 95 %
    interval (Student's t) of the paired difference in test accuracy lies above 0.
    """
    sample = load_dataset(DataSettings(source="sample:sentiment"))
    learning = replace(FROM_SCRATCH, epochs=12, learning_rate=2e-3)
    settings = FineTuneSettings(
        model="small:bert", small=TEACHER, max_length=64, hyperparameters=learning, run=RUN
    )
    teacher = fine_tune(sample, settings, tmp_path / "teacher")
    rows = sample.splits["train"]
    more = [row.text for row in rows[LABELLED : LABELLED + UNLABELLED]]
    few = rows[:LABELLED]
    times = (LABELLED + UNLABELLED) // LABELLED
    arms = {"without": (0.0, few * times, []), "with": (0.9, few, more)}
    scores: dict[str, list[float]] = {name: [] for name in arms}
    for seed in range(SEEDS):
        training = FineTuneSettings(
            small=STUDENT,
            max_length=64,
            hyperparameters=replace(FROM_SCRATCH, epochs=6, learning_rate=3e-3),
            seed=seed,
            run=RUN,
        )
        for name, (alpha, train, texts) in arms.items():
            data = replace(sample, splits={**sample.splits, "train": train})
            lesson = DistillSettings(
                str(tmp_path / "teacher"), student="small", alpha=alpha, training=training
            )
            made = distill_task(data, texts, lesson, tmp_path / name, tmp_path / "cache")
            assert made is not None
            scores[name].append(made.comparison.student)
    gains = [a - b for a, b in zip(scores["with"], scores["without"], strict=True)]
    interval = stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    means = {name: round(statistics.mean(values), 4) for name, values in scores.items()}
    note(f"teacher {teacher.test['accuracy']:.4f}; {means}; gains {gains}; 95 %: {interval}")
    assert interval.low > 0.0
