from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from export.data.task import Example, TextDataset
from export.training.baselines import run_baselines
from export.training.baselines.lstm import Lstm
from export.training.baselines.words import PAD, UNKNOWN, Words


def _split(rows: list[Example], name: str, kind: str, labels: tuple[str, ...]) -> TextDataset:
    random = np.random.default_rng(3)
    rows = [rows[i] for i in random.permutation(len(rows))]
    splits = {"train": rows[::2], "validation": rows[1::4], "test": rows[3::4]}
    return TextDataset(name, kind, labels, {k: tuple(v) for k, v in splits.items()}, (), ())  # type: ignore[arg-type]


def _order() -> TextDataset:
    """Who follows whom: the words are the same in both classes."""
    animals = ("dog", "cat", "hen", "fox", "owl", "bee")
    rows = [
        Example(f"{start} {a} {how} after {b}", (int(a < b),))
        for a, b in itertools.permutations(animals, 2)
        for start in ("the", "my", "our", "one")
        for how in ("ran", "went", "came", "looked")
    ]
    return _split(rows, "order", "single_label", ("down", "up"))


def _places() -> TextDataset:
    places, times = ("sea", "hill", "town", "wood"), ("dawn", "noon", "dusk", "night")
    marks = ({"sea", "town"}, {"dawn", "dusk"})
    rows = [
        Example(f"the {p} at {t} number {n}", tuple(i for i in (0, 1) if (p, t)[i] in marks[i]))
        for p, t in itertools.product(places, times)
        for n in range(12)
    ]
    return _split(rows, "places", "multi_label", ("wet", "dim"))


@pytest.fixture(scope="module")
def order() -> TextDataset:
    return _order()


@pytest.fixture(scope="module")
def trained(order: TextDataset) -> Lstm:
    model = Lstm(order, seed=1, class_weights=None, seconds=60.0)
    model.fit(order)
    return model


def test_it_reads_the_order_of_words_and_a_bag_cannot(order: TextDataset) -> None:
    bag, lstm = run_baselines(order, seed=1)
    assert bag.metrics["test"]["accuracy"] < 0.65
    assert lstm.metrics["test"]["accuracy"] > 0.95
    assert lstm.settings["epochs"] >= lstm.settings["best_epoch"] >= 1
    assert lstm.bytes > 4 * lstm.parameters


def test_padding_and_the_batch_change_nothing(trained: Lstm) -> None:
    """A text alone, beside a longer one and in another order."""
    texts = ["the dog ran after cat", "hen", "our owl looked after bee " * 9, "a !", ""]
    together = trained.logits(texts)
    alone = np.concatenate([trained.logits([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(trained.logits(texts[::-1])[::-1] - together).max() < 1e-5


def test_the_seed_decides_and_the_callers_random_numbers_stay(order: TextDataset) -> None:
    few = {name: rows[:40] for name, rows in order.splits.items()}
    dataset = TextDataset("few", "single_label", order.labels, few, (), ())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    logits = []
    for seed in (1, 1, 2):
        model = Lstm(dataset, seed=seed, class_weights=None, seconds=60.0)
        model.fit(dataset)
        logits.append(model.logits(["the dog ran after cat"]))
    assert (logits[0] == logits[1]).all()
    assert (logits[0] != logits[2]).any()
    assert (torch.rand(3) == expected).all()


def test_several_labels_with_thresholds() -> None:
    (found,) = run_baselines(_places(), seed=1, which=("lstm",))
    assert found.metrics["test"]["micro_f1"] > 0.95
    assert found.settings["thresholds"] == "tuned"


def test_no_epoch_begins_that_would_end_too_late(order: TextDataset) -> None:
    model = Lstm(order, seed=1, class_weights=None, seconds=0.0)
    model.fit(order)
    assert model.settings["epochs"] == 1
    assert model.settings["ended_by"] == "time"


def test_class_weights_reach_the_loss(order: TextDataset) -> None:
    """With all the weight on one class, the other is never given."""
    few = {name: rows[:60] for name, rows in order.splits.items()}
    dataset = TextDataset("few", "single_label", order.labels, few, (), ())
    model = Lstm(dataset, seed=1, class_weights=(1.0, 0.0), seconds=60.0)
    model.fit(dataset)
    assert (model.logits([e.text for e in few["test"]]).argmax(axis=1) == 0).all()


def test_words() -> None:
    words = Words(["The cat, the dog", "the CAT!"], most=3)
    assert len(words) == 4  # padding, unknown, the, cat
    assert words.ids("the cat THE", 9) == [2, 3, 2]
    assert words.ids("dog !", 9) == [UNKNOWN, UNKNOWN]
    assert words.ids("  ", 9) == [UNKNOWN]
    assert words.ids("the the the", 2) == [2, 2]
    assert words.bytes == len("the\ncat\n")
    assert PAD not in words.ids("the \ud800", 9)
    assert len(Words(["a b c d e f"] * 2, most=3)) == 5
