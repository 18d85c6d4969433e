from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.boundary import _couples, boundary_texts
from export.checkpoint import load_classifier, load_tokenizer, read_checkpoint
from export.data.task import TextDataset
from export.model_choice import task_spec
from export.reference import Reference, reference_from_model, reference_logits
from export.tokenizers import describe_tokenizer, write_tokenizer
from runtime.decisions import margins
from runtime.golden import AWKWARD, BOUNDARY, VALIDATION, read_golden
from runtime.manifest import TaskSpec
from runtime.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def reference(checkpoint_folder: Path) -> Reference:
    checkpoint = read_checkpoint(checkpoint_folder, name="weather", revision="")
    return reference_from_model(load_classifier(checkpoint))


@pytest.fixture(scope="module")
def tokenizer(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    checkpoint = read_checkpoint(checkpoint_folder, name="weather", revision="")
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = load_tokenizer(checkpoint)
    spec = describe_tokenizer(tokenizer, 32, checkpoint.family)
    write_tokenizer(tokenizer, spec, folder)
    return TextTokenizer(folder / spec.file, spec)


@pytest.fixture(scope="module")
def texts(weather: TextDataset) -> list[str]:
    return [example.text for example in weather.splits["validation"]]


def _logits(reference: Reference, tokenizer: TextTokenizer, texts: list[str]) -> np.ndarray:
    return reference_logits(reference, [tokenizer.ids(text) for text in texts])


def _moved(reference: Reference, weight: float, bias: float) -> Reference:
    """The same model with another last layer: both scaled, or the bias alone left over."""
    state = {k: v.clone() for k, v in reference.module.model.state_dict().items()}
    state["classifier.weight"] *= weight
    state["classifier.bias"] = state["classifier.bias"] * weight + torch.tensor([bias, 0.0, 0.0])
    model = type(reference.module.model)(reference.module.model.config)
    model.load_state_dict(state)
    return reference_from_model(model)


def test_they_are_far_nearer_to_the_boundary_and_cover_every_pair(
    reference: Reference, tokenizer: TextTokenizer, texts: list[str], weather: TextDataset
) -> None:
    task = task_spec(weather)
    logits = _logits(reference, tokenizer, texts)
    found = boundary_texts(reference, tokenizer, task, texts, logits, count=24)
    assert found == boundary_texts(reference, tokenizer, task, texts, logits, count=24)
    assert len(found) == 24
    assert len({tuple(tokenizer.ids(text)) for text in found}) == 24, "no text twice"
    assert not set(found) & set(texts)
    assert not any(tokenizer.encode(text)[1] for text in found), "none is cut"
    z = _logits(reference, tokenizer, list(found))
    natural = np.median(margins(logits, task))
    assert margins(z, task).max() <= 0.11 * natural
    pairs = Counter(tuple(sorted(row.argsort()[-2:].tolist())) for row in z)
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert min(pairs.values()) >= 3
    fewer = boundary_texts(reference, tokenizer, task, texts, logits, count=8, taken=set(found))
    assert not set(fewer) & set(found)


def test_multi_label_every_label_that_is_given_tips_over(
    reference: Reference, tokenizer: TextTokenizer, texts: list[str], weather: TextDataset
) -> None:
    task = TaskSpec("multi_label", "sigmoid", weather.labels, (0.5, 0.3, 0.8))
    logits = _logits(reference, tokenizer, texts)
    found = boundary_texts(reference, tokenizer, task, texts, logits, count=18)
    assert len(found) == 18
    distances = margins(_logits(reference, tokenizer, list(found)), task)
    limit = 0.11 * np.median(margins(logits, task))
    assert distances.min(axis=1).max() <= limit
    near = (distances <= limit).sum(axis=0)
    assert near.min() >= 1
    assert near.sum() >= 18
    # A label that no text gets cannot be reached, the others still can.
    never = replace(task, thresholds=(0.5, 0.3, 1.0))
    found = boundary_texts(reference, tokenizer, never, texts, logits, count=6)
    distances = margins(_logits(reference, tokenizer, list(found)), never)
    assert set(distances.argmin(axis=1).tolist()) == {0, 1}


def test_a_reference_without_a_boundary_gives_no_texts(
    reference: Reference, tokenizer: TextTokenizer, texts: list[str], weather: TextDataset
) -> None:
    task = task_spec(weather)
    for weight, bias in ((0.0, 3.0), (0.0, 0.0), (1.0, 100.0)):
        moved = _moved(reference, weight, bias)
        logits = _logits(moved, tokenizer, texts)
        assert boundary_texts(moved, tokenizer, task, texts, logits) == ()
    assert boundary_texts(reference, tokenizer, task, [], np.zeros((0, 3), np.float32)) == ()
    one = TaskSpec("single_label", "softmax", ("only",))
    logits = np.zeros((len(texts), 1), np.float32)
    assert boundary_texts(reference, tokenizer, one, texts, logits) == ()


def test_texts_without_spaces_are_cut_between_characters(
    reference: Reference, tokenizer: TextTokenizer, texts: list[str], weather: TextDataset
) -> None:
    task = task_spec(weather)
    joined = ["_".join(text.split()) for text in texts]
    logits = _logits(reference, tokenizer, joined)
    found = boundary_texts(reference, tokenizer, task, joined, logits, count=4)
    assert found
    assert not any(" " in text for text in found)
    assert margins(_logits(reference, tokenizer, list(found)), task).max() <= 0.11 * np.median(
        margins(logits, task)
    )


def test_many_labels_take_turns_beside_their_likeliest_partner() -> None:
    rng = np.random.default_rng(4)
    labels = 77
    z = rng.normal(size=(600, labels))
    truth = np.arange(600) % (labels - 1)  # the last label is never given
    z[np.arange(600), truth] += 9
    z[np.arange(600), truth ^ 1] += 5  # neighbours are easily confused
    chosen = np.zeros(z.shape, dtype=bool)
    chosen[np.arange(600), z.argmax(axis=1)] = True
    first = list(itertools.islice(_couples(z, chosen), 38))
    assert {label for pair in first for label in pair} == set(range(76))
    assert all(a ^ 1 == b for a, b in first)
    few = list(itertools.islice(_couples(z[:, :4], chosen[:, :4]), 60))
    assert set(Counter(few).values()) == {10}, "six pairs, ten turns each"


def test_the_bundle_holds_them(bundle_folder: Path) -> None:
    golden = read_golden(bundle_folder / "golden.json")
    boundary, validation = golden.rows(BOUNDARY), golden.rows(VALIDATION)
    # A model that tips over steeply has fewer texts that are nearly undecided.
    assert 48 <= len(boundary) <= 64
    assert len(golden.rows(AWKWARD)) > 100
    margin = np.diff(np.sort(golden.reference, axis=1)[:, -2:])[:, 0]
    assert np.median(margin[boundary]) < 0.1 * np.median(margin[validation])
    others = {case.text for case in golden.cases if case.set != BOUNDARY}
    assert not {golden.cases[i].text for i in boundary} & others
