from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy import stats

from export.checkpoint import find_checkpoint, load_classifier
from export.data.task import Example, TextDataset
from export.settings import FineTuneSettings, Hyperparameters, ModelSize, RunOptions
from export.training.distill.settings import FROM_TEACHER, SAME_FAMILY, DistillSettings
from export.training.distill.task import Distilled, distill_task
from export.training.distill.taught import TaughtLoss, count_rows
from export.training.distill.teacher import load_teaching_classifier, teacher_logits
from export.training.finetune import fine_tune
from export.training.losses import TaskLoss
from export.training.record import read_record
from runtime.errors import UserError

from support import TINY_SETTINGS

SHALLOW = ModelSize(vocab_size=300, dim=32, layers=1, heads=2, hidden_dim=64, dropout=0.0)
QUICK = FineTuneSettings(
    small=SHALLOW,
    max_length=32,
    hyperparameters=Hyperparameters(
        epochs=2, batch_size=32, learning_rate=5e-3, weight_decay=0.01, warmup_share=0.1
    ),
    run=RunOptions(baselines=()),
)


def lesson(teacher: Path, **values: Any) -> DistillSettings:
    usual: dict[str, Any] = {"student": "small", "training": QUICK}
    return DistillSettings(teacher=str(teacher), **(usual | values))


def distilled(dataset: TextDataset, texts: list[str], *rest: Any) -> Distilled:
    result = distill_task(dataset, texts, *rest)
    assert result is not None
    return result


def cut(dataset: TextDataset, rows: int, *, times: int = 1) -> TextDataset:
    """The first few training rows, `times` over, and a third of the validation rows."""
    train, validation = dataset.splits["train"][:rows] * times, dataset.splits["validation"][:60]
    return replace(dataset, splits={**dataset.splits, "train": train, "validation": validation})


def texts_of(dataset: TextDataset, start: int, stop: int) -> list[str]:
    return [row.text for row in dataset.splits["train"][start:stop]]


def epochs(count: int, training: FineTuneSettings = QUICK, **more: Any) -> FineTuneSettings:
    chosen = training.effective.override(epochs=count, **more)
    return replace(training, hyperparameters=chosen)


# The loss.


def test_the_loss_by_hand_with_a_text_that_has_no_label() -> None:
    """Two texts, the second without a label: alpha soft of both, (1 - alpha) hard of the first."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    inputs = {
        "x": logits, "teacher": teacher,
        "labels": torch.tensor([1, 0]), "labelled": torch.tensor([True, False]),
    }  # fmt: skip
    loss = TaughtLoss(TaskLoss(multi_label=False), alpha=0.75, temperature=2.0)
    result = loss(Echo(), inputs, torch.tensor([2]))
    s, t = torch.softmax(logits / 2, -1), torch.softmax(teacher / 2, -1)
    soft = 4 * (t * (t.log() - s.log())).sum(-1).mean()
    hard = -torch.log_softmax(logits, -1)[0, 1] / 2
    torch.testing.assert_close(result.terms["soft"], soft.detach())
    torch.testing.assert_close(result.terms["hard"], hard.detach())
    torch.testing.assert_close(result.loss, 0.75 * soft + 0.25 * hard)


class Echo(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": x}


@pytest.mark.parametrize("multi_label", [False, True])
def test_passes_of_a_step_add_up(multi_label: bool) -> None:
    """One pass of eight rows equals three of 3, 3 and 2, a row without a target among them."""
    chance = torch.Generator().manual_seed(4)
    logits, teacher = torch.randn(2, 8, 3, generator=chance)
    labels = torch.tensor([0, 1, 2, 0, 0, 1, 2, -100])
    if multi_label:
        labels = torch.randint(0, 2, (8, 3), generator=chance).float()
        labels[7] = -100.0
    rows = {
        "x": logits, "teacher": teacher, "labels": labels,
        "labelled": torch.tensor([True, False, True, True, False, False, True, True]),
    }  # fmt: skip
    loss = TaughtLoss(TaskLoss(multi_label=multi_label), alpha=0.3, temperature=1.7)
    items = count_rows(rows)
    assert items.tolist() == [7]
    whole = loss(Echo(), dict(rows), items).loss
    parts = [
        loss(Echo(), {name: value[a:b] for name, value in rows.items()}, items).loss
        for a, b in ((0, 3), (3, 6), (6, 8))
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_every_term_falls(
    alpha: float, checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    settings = lesson(checkpoint_folder, alpha=alpha, training=epochs(3))
    result = distilled(
        cut(weather, 200), texts_of(weather, 200, 500), settings, tmp_path / "s", tmp_path / "c"
    )
    first, *_, last = result.run.epochs
    assert set(first.terms) == {"soft", "hard"}
    for term, weight in (("soft", alpha), ("hard", 1.0 - alpha)):
        if weight:
            assert last.terms[term] < 0.7 * first.terms[term]
    assert first.training_loss == pytest.approx(
        alpha * first.terms["soft"] + (1 - alpha) * first.terms["hard"], rel=1e-5
    )


# What a teacher is good for.


@pytest.mark.slow
def test_a_student_with_a_teacher_beats_the_same_student_without(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    """24 labelled texts; the teacher's answers to 240 more against the labels alone.

    Five seeds, each with and without, as many rows an epoch, the same batches, steps and epochs.
    The 99 % interval of the paired difference in test accuracy (Student's t) lies above 0.1.
    """
    gains = []
    for seed in range(5):
        training = replace(epochs(6, learning_rate=1e-2), seed=seed)
        scores = []
        for name, alpha, data, texts in (
            ("without", 0.0, cut(weather, 24, times=11), []),
            ("with", 0.9, cut(weather, 24), texts_of(weather, 24, 264)),
        ):
            settings = lesson(checkpoint_folder, alpha=alpha, training=training)
            made = distilled(data, texts, settings, tmp_path / name, tmp_path / "cache")
            scores.append(made.comparison.student)
        gains.append(scores[1] - scores[0])
    interval = stats.ttest_1samp(gains, 0.0).confidence_interval(0.99)
    assert interval.low > 0.1, (gains, interval)


# The checkpoint.


def test_the_checkpoint_is_an_ordinary_one(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    settings = lesson(checkpoint_folder, temperature=3.0)
    result = distilled(
        cut(weather, 100), texts_of(weather, 100, 300), settings, tmp_path / "s", tmp_path / "c"
    )
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training.json"} <= names
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".run")]
    checkpoint = find_checkpoint(str(tmp_path / "s"))
    assert checkpoint.labels == weather.labels
    assert load_classifier(checkpoint).config.n_layers == 1
    record = read_record(tmp_path / "s")
    told = record.extra["distillation"]
    assert (
        told["teacher"]["weights_sha256"]
        == find_checkpoint(str(checkpoint_folder)).weights_sha256()
    )
    assert (told["temperature"], told["unlabelled_texts"]) == (3.0, 200)
    assert told["comparison"]["student"] == result.comparison.student == record.test["accuracy"]
    assert told["comparison"]["student_parameters"] < told["comparison"]["teacher_parameters"]
    assert [set(epoch.terms) for epoch in record.epochs] == [{"soft", "hard"}] * 2


def test_half_the_layers_of_the_teacher(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    for student in (FROM_TEACHER, SAME_FAMILY):
        settings = lesson(checkpoint_folder, student=student, layers=(1,))
        made = distilled(cut(weather, 200), [], settings, tmp_path / student, tmp_path / "c")
        config = json.loads((tmp_path / student / "config.json").read_bytes())
        assert (config["model_type"], config["n_layers"]) == ("distilbert", 1)
        assert made.comparison.student > 0.9
        told = read_record(tmp_path / student).extra["distillation"]
        assert told["layers"] == [1]


def test_a_berts_student_is_a_distilbert(weather: TextDataset, tmp_path: Path) -> None:
    fine_tune(weather, replace(TINY_SETTINGS, model="small:bert"), tmp_path / "bert")
    made = distilled(
        cut(weather, 200),
        [],
        lesson(tmp_path / "bert", student=FROM_TEACHER, training=epochs(3)),
        tmp_path / "s",
        tmp_path / "c",
    )
    config = json.loads((tmp_path / "s" / "config.json").read_bytes())
    assert config["architectures"] == ["DistilBertForSequenceClassification"]
    assert config["n_layers"] == 1
    assert made.comparison.agreement > 0.9


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    checkpoint_folder: Path,
    weather: TextDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, texts = cut(weather, 100), texts_of(weather, 100, 200)
    training = replace(QUICK, run=RunOptions(save_every=2, baselines=()))
    settings = lesson(checkpoint_folder, training=training)
    distilled(data, texts, settings, tmp_path / "whole", tmp_path / "c")
    usual, calls = TaughtLoss.__call__, 0

    def stop_in_the_ninth(self: TaughtLoss, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return usual(self, *arguments)

    monkeypatch.setattr(TaughtLoss, "__call__", stop_in_the_ninth)
    with pytest.raises(KeyboardInterrupt):
        distill_task(data, texts, settings, tmp_path / "cut", tmp_path / "c")
    assert not (tmp_path / "cut").exists()
    other = replace(settings, temperature=4.0)
    with pytest.raises(UserError, match="differs in temperature"):
        distill_task(data, texts, other, tmp_path / "cut", tmp_path / "c")
    distilled(data, texts, settings, tmp_path / "cut", tmp_path / "c")
    assert read_record(tmp_path / "cut").resumed_from_steps == (8,)
    whole, again = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "cut"))
    assert all((whole[name] == again[name]).all() for name in whole)


# Labels.


def test_labels_follow_the_datas_order(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    """The data's labels reversed: the teacher's columns and a copied head must follow."""
    names = tuple(reversed(weather.labels))
    splits = {
        split: tuple(Example(row.text, (len(names) - 1 - row.labels[0],)) for row in rows)
        for split, rows in weather.splits.items()
    }
    data = replace(weather, labels=names, splits=splits)
    # The teacher's own answers alone, so a wrong order could not be made good by labels.
    settings = lesson(checkpoint_folder, student=SAME_FAMILY, layers=(0, 1), alpha=1.0)
    made = distilled(cut(data, 64), [], settings, tmp_path / "s", tmp_path / "c")
    assert find_checkpoint(str(tmp_path / "s")).labels == names
    assert made.comparison.teacher > 0.9
    assert made.comparison.student > 0.9
    assert made.comparison.agreement > 0.95


def test_labels_that_only_the_teacher_knows(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    keep = ("sunny", "rainy")
    index = {weather.labels.index(name): at for at, name in enumerate(keep)}
    splits = {
        split: tuple(
            Example(row.text, (index[row.labels[0]],)) for row in rows if row.labels[0] in index
        )
        for split, rows in weather.splits.items()
    }
    data = replace(weather, labels=keep, splits=splits)
    snowy = weather.labels.index("snowy")
    texts = [row.text for row in weather.splits["train"] if row.labels == (snowy,)]
    settings = lesson(checkpoint_folder, training=epochs(3))
    distilled(cut(data, 100), texts[:200], settings, tmp_path / "s", tmp_path / "c")
    checkpoint = find_checkpoint(str(tmp_path / "s"))
    assert checkpoint.labels == ("sunny", "rainy", "snowy")
    student = load_teaching_classifier(str(tmp_path / "s"), 32)
    ids = [student.tokenizer.encode(text).ids for text in texts[200:260]]
    answers = teacher_logits(student, ids, tmp_path / "c2").argmax(axis=1)
    assert (answers == 2).mean() > 0.9  # learned from the teacher alone


def test_multi_label_learns_from_soft_decisions(tmp_path: Path) -> None:
    places, times = ("sea", "hill", "town", "wood"), ("dawn", "noon", "dusk", "night")
    marks = ({"sea", "town"}, {"dawn", "dusk"})
    rows = [
        Example(f"the {p} at {t} number {n}", tuple(i for i in (0, 1) if (p, t)[i] in marks[i]))
        for p in places
        for t in times
        for n in range(12)
    ]
    splits = {"train": tuple(rows[::2]), "validation": tuple(rows[1::4]), "test": tuple(rows[3::4])}
    dataset = TextDataset("places", "multi_label", ("wet", "dim"), splits, (), ())
    fine_tune(dataset, epochs(8, TINY_SETTINGS), tmp_path / "teacher")
    few = replace(dataset, splits={**splits, "train": splits["train"][:8]})
    texts = [row.text for row in splits["train"][8:]]
    settings = lesson(tmp_path / "teacher", training=epochs(20, learning_rate=1e-2))
    made = distilled(few, texts, settings, tmp_path / "s", tmp_path / "c")
    first, *_, last = made.run.epochs
    assert last.terms["soft"] < 0.7 * first.terms["soft"]
    assert made.comparison.metric == "micro_f1"
    assert made.comparison.agreement > 0.9


# The teacher's answers.


def test_the_teacher_is_asked_once(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = load_teaching_classifier(str(checkpoint_folder), 64)
    ids = [teacher.tokenizer.encode(f"the sky is bright {end}").ids for end in ("", "today")]
    answers = teacher_logits(teacher, ids, tmp_path)
    expected = [teacher.model(torch.tensor([row])).logits[0].detach().numpy() for row in ids]
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    with torch.no_grad():  # what is in the file is not asked for again
        teacher.model.classifier.weight.zero_()
    assert (teacher_logits(teacher, ids, tmp_path) == answers).all()
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-40])
    assert (teacher_logits(teacher, ids, tmp_path) != answers).any()
    assert "damaged" in capsys.readouterr().err


def test_the_comparison_is_of_the_written_student(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    made = distilled(
        cut(weather, 60), [], lesson(checkpoint_folder), tmp_path / "s", tmp_path / "c"
    )
    logits = []
    for folder in (checkpoint_folder, tmp_path / "s"):
        teacher = load_teaching_classifier(str(folder), 32)
        ids = [teacher.tokenizer.encode(row.text).ids for row in weather.splits["test"]]
        logits.append(teacher_logits(teacher, ids, tmp_path / "c2"))
    same = logits[0].argmax(1) == logits[1].argmax(1)
    assert made.comparison.agreement == pytest.approx(same.mean())


# What does not fit.


def test_what_does_not_fit_is_refused(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    def refuse(match: str, dataset: TextDataset = weather, **values: Any) -> None:
        with pytest.raises(UserError, match=match):
            distill_task(
                dataset, [], lesson(checkpoint_folder, **values), tmp_path / "s", tmp_path / "c"
            )
        assert not (tmp_path / "s").exists()

    strange = replace(weather, labels=("foggy", *weather.labels[1:]))
    refuse("does not know the label 'foggy'", strange)
    refuse("is single-label and the data multi-label", replace(weather, kind="multi_label"))
    refuse("beyond the teacher", training=replace(QUICK, max_length=65))
    refuse("cannot read the tokens", student="small:roberta")
    refuse("no layer 7", student=FROM_TEACHER, layers=(0, 7))
    fine_tune(
        cut(weather, 50), replace(QUICK, small=replace(SHALLOW, vocab_size=120)), tmp_path / "other"
    )
    refuse("the first token that differs is", student=str(tmp_path / "other"))
    with pytest.raises(UserError, match="--layers is for a student"):
        lesson(checkpoint_folder, layers=(0,))
    for wrong in ({"temperature": 0.0}, {"alpha": 1.5}):
        with pytest.raises(UserError):
            lesson(checkpoint_folder, **wrong)


def test_a_teacher_that_is_broken(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in checkpoint_folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] * np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="not finite"):
        distill_task(cut(weather, 50), [], lesson(broken), tmp_path / "s", tmp_path / "c")
