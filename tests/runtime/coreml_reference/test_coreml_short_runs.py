"""Runs without padding: proven facts hold, results are the same, and every doubt is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coreml_packages import LENGTH, save_variant
from coreml_programs import short_runs
from coreml_variants import VOCABULARY, save_more, text_and_padding

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.numerics import Mode, Numerics
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.padding import proof as proving
from runtime.coreml_reference.padding.facts import Fact
from runtime.coreml_reference.padding.registry import Call
from runtime.coreml_reference.padding.short_runs import PATIENCE, ShortRuns
from runtime.coreml_reference.program import Array, CoreMLError, Operation, Package

PROVEN = ("plain-ios16", "plain-ios17", "fused-ios18", "mean-ios16", "plain-ios16-fp32")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    folder = tmp_path_factory.mktemp("packages")
    return {name: read_package(save_more(name, folder)) for name in PROVEN}


@pytest.mark.parametrize("name", PROVEN)
def test_results_are_those_of_the_whole_program(name: str, packages: dict[str, Package]) -> None:
    executor, short = short_runs(packages[name])
    seen = []
    for count in range(1, LENGTH + 1):
        feed = text_and_padding(count, seed=count)
        whole, found = executor.run(feed)["logits"], short.run(feed)["logits"]
        assert whole.dtype == found.dtype
        assert whole.tobytes() == found.tobytes(), count
        seen.append(whole)
    assert short.doubt == ""
    assert len({array.tobytes() for array in seen}) == LENGTH


def test_labels_and_probabilities_are_the_same(tmp_path: Path) -> None:
    package = read_package(save_more("classifier-sigmoid", tmp_path))
    executor, short = short_runs(package)
    for count in (2, 9):
        feed = text_and_padding(count)
        whole, found = executor.run(feed), short.run(feed)
        assert whole == found
        assert len(found[package.predicted_probabilities_name]) == 3
    assert short.doubt == ""


def test_padding_is_really_left_out(packages: dict[str, Package]) -> None:
    package = packages["plain-ios16"]
    executor, short = short_runs(package)
    scores: list[tuple[int, ...]] = []
    run_together = executor.run_together

    def look(step: Operation, _: str, value: Array) -> None:
        if step.kind == "softmax":
            scores.append(value.shape)

    executor.run_together = lambda plans, inputs: run_together(plans, inputs, look)  # type: ignore[method-assign,assignment,misc]
    short.run(text_and_padding(5))
    short.run(text_and_padding(LENGTH - 1))
    assert scores == [(1, 2, 5, 5), (1, 2, LENGTH - 1, LENGTH - 1)]


def test_exact_arithmetic_leaves_it_out_too(packages: dict[str, Package]) -> None:
    executor, short = short_runs(packages["plain-ios16"], "f32")
    for count in (1, 3, 9):
        feed = text_and_padding(count)
        whole, found = executor.run(feed)["logits"], short.run(feed)["logits"]
        assert np.abs(whole - found).max() <= 1e-5 * np.abs(whole).max()
    assert short.doubt == ""


SERIES = (5, LENGTH, 1, 7, 7, LENGTH - 1, 2, 11, 3)


def _series(changed: Mapping[int, Mapping[str, Array]] | None = None) -> list[dict[str, Array]]:
    """Texts of the lengths in `SERIES`; at some places other ids or masks."""
    feeds = [text_and_padding(count, seed=place) for place, count in enumerate(SERIES)]
    for place, other in (changed or {}).items():
        feeds[place] |= other
    return feeds


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize("rows", [1, 20, 256])
def test_a_series_gives_what_each_gives_alone(
    name: str, rows: int, packages: dict[str, Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.coreml_reference.padding.short_runs._ROWS", rows)
    executor, short = short_runs(packages[name])
    # A mask with a hole runs in full, among the others.
    hole = np.resize(np.array([1, 0], np.int32), (1, LENGTH))
    feeds = _series({3: {"attention_mask": hole}})
    found = [result["logits"] for result in short.run_series(feeds)]
    assert short.doubt == ""
    whole = [executor.run(feed)["logits"] for feed in feeds]
    assert [array.tobytes() for array in found] == [array.tobytes() for array in whole]
    assert len({array.tobytes() for array in whole}) == len(SERIES)


def test_a_series_is_as_exact(packages: dict[str, Package]) -> None:
    executor, short = short_runs(packages["plain-ios16"], "f32")
    for feed, found in zip(_series(), short.run_series(_series()), strict=True):
        whole = executor.run(feed)["logits"]
        assert np.abs(whole - found["logits"]).max() <= 1e-5 * np.abs(whole).max()


def test_a_series_multiplies_by_each_matrix_once(
    packages: dict[str, Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, short = short_runs(packages["plain-ios16"])
    short.run(text_and_padding(3))
    products: list[int] = []

    def counted(numerics: Numerics, x: Array, y: Array) -> Array:
        if x.ndim == 2:
            products.append(len(x))
        return np.asarray(np.matmul(x, y))

    monkeypatch.setattr(Numerics, "matmul", counted)
    executor.run(text_and_padding(LENGTH))
    alone = len(products)
    products.clear()
    list(short.run_series(_series()))
    assert len(products) == alone
    # All but the head's, which read one position of each.
    assert products.count(sum(SERIES)) >= alone - 2
    products.clear()
    monkeypatch.setattr("runtime.coreml_reference.padding.short_runs._ROWS", 24)
    list(short.run_series(_series()))
    assert len(products) == 4 * alone
    assert max(products) <= 24


def test_what_is_not_finite_stays_in_its_text(packages: dict[str, Package]) -> None:
    package = _changed(packages["plain-ios16"], "word_embeddings_weight", _filled(np.nan, 7))
    executor = Executor(package)
    feeds = _series()
    for feed in feeds:
        feed["input_ids"][feed["input_ids"] == 7] = 8
    feeds[4]["input_ids"][:] = 7
    # With such weights nothing is proven, and a series would not run together.
    found = executor.run_together([executor.steps] * len(feeds), feeds)
    assert [np.isnan(one["logits"]).any() for one in found] == [k == 4 for k in range(len(feeds))]
    assert executor.non_finite
    assert len(set(executor.non_finite)) == len(executor.non_finite)
    assert executor.run(feeds[0])["logits"].tobytes() == found[0]["logits"].tobytes()
    assert not executor.non_finite


def test_a_bad_text_of_a_series_is_refused(packages: dict[str, Package]) -> None:
    _, short = short_runs(packages["plain-ios16"])
    bad = text_and_padding(5)["input_ids"]
    bad[0, 2] = VOCABULARY
    with pytest.raises(CoreMLError, match="outside a table"):
        list(short.run_series(_series({4: {"input_ids": bad}})))
    assert list(short.run_series([])) == []


def test_a_long_series_looks_for_the_proof_at_once(packages: dict[str, Package]) -> None:
    package = packages["plain-ios16"]
    short = ShortRuns(Executor(package))
    list(short.run_series(_series()[:PATIENCE]))
    assert short.doubt is None
    short = ShortRuns(Executor(package))
    list(short.run_series(_series()))
    assert short.doubt == ""


def test_one_answer_does_not_wait_for_the_proof(packages: dict[str, Package]) -> None:
    package = packages["plain-ios16"]
    short = ShortRuns(Executor(package))
    for _ in range(PATIENCE):
        short.run(text_and_padding(3))
        assert short.doubt is None
    short.run(text_and_padding(3))
    assert short.doubt == ""


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize("mode", ["f16", "f32"])
def test_every_fact_holds(
    name: str, mode: Mode, packages: dict[str, Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every value of real runs, at text and at padding alike."""
    package = packages[name]
    executor = Executor(package, ExecutorSettings(mode))
    facts = _facts(package, executor, monkeypatch)
    tight = []
    for count in (1, 2, 7, LENGTH - 1, LENGTH):
        for seed in range(4):

            def look(step: Operation, value_name: str, value: Array, count: int = count) -> None:
                del step
                if value.dtype.kind == "f":
                    tight.append(_check_fact(facts[value_name], value, count))

            executor.run(text_and_padding(count, seed), look)
    # Bounds are not wider than any number could be: some values come near theirs.
    assert max(tight) > 0.5


def _facts(
    package: Package, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Fact]:
    facts: dict[str, Fact] = {}
    conclude = proving._conclude

    def keep(call: Call) -> dict[str, Fact]:
        found = conclude(call)
        facts.update(found)
        return found

    monkeypatch.setattr(proving, "_conclude", keep)
    proving.prove(package.function, executor.steps)
    return facts


def _check_fact(fact: Fact, value: Array, count: int) -> float:
    """Hold a value to its fact; returns how near it comes to its bound."""
    assert value.shape == fact.shape
    assert np.abs(value).max() <= fact.largest
    for axis in fact.positions:
        assert value.shape[axis] == LENGTH
    if fact.norm is not None:
        assert np.linalg.norm(value, axis=fact.norm[0]).max() <= fact.norm[1]
    if fact.levels is not None:
        (axis,) = fact.positions
        text, padding = _parts(value, axis, count)
        assert np.allclose(text, fact.levels[0], rtol=2e-3)
        assert np.allclose(padding, fact.levels[1], rtol=2e-3)
    if fact.hidden is not None:
        axis, gap = fact.hidden
        text, padding = _parts(value, axis, count)
        if padding.size:
            assert (text.min(axis) - padding.max(axis)).min() >= gap
    if fact.is_mask:
        (axis,) = fact.positions
        text, padding = _parts(value, axis, count)
        assert (text == 1).all()
        assert not padding.any()
    if fact.zero is not None:
        assert not _parts(value, fact.zero, count)[1].any()
    if fact.silent is not None:
        _, padding = _parts(value, fact.silent, count)
        assert not padding.any()
        assert np.abs(np.abs(value).sum(fact.silent) - 1).max() <= 0.002
    if fact.normalised is not None:
        gamma, beta, radius = fact.normalised
        z = (value - beta) / gamma
        assert np.linalg.norm(z, axis=-1).max() <= radius * 1.002
    return float(np.abs(value).max() / fact.largest)


def _parts(value: Array, axis: int, count: int) -> tuple[Array, Array]:
    first, rest = np.split(value, [count], axis)
    return first, rest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one-input", "inputs are not"),
        ("channels-ios16", "only the last axis"),
        ("w8a8-ios17", "there is no rule"),
    ],
)
def test_what_has_no_rule_runs_in_full(name: str, reason: str, tmp_path: Path) -> None:
    package = read_package(save_more(name, tmp_path))
    executor, short = short_runs(package)
    names = [named.name for named in package.function.inputs]
    feed = {name: text_and_padding(5)[name] for name in names}
    whole, found = executor.run(feed), short.run(feed)
    assert short.doubt is not None
    assert reason in short.doubt
    assert whole.keys() == found.keys()
    for key, value in whole.items():
        assert value.tobytes() == found[key].tobytes()


def test_a_range_of_lengths_is_not_fixed(tmp_path: Path) -> None:
    package = read_package(save_variant("ios18-enumerated", tmp_path))
    _, short = short_runs(package)
    short.run(text_and_padding(5))
    assert short.doubt is not None
    assert "not fixed" in short.doubt


def _changed(package: Package, name: str, change: Callable[[Array], Array]) -> Package:
    """With another value of the first constant that is called so."""
    function = package.function
    operations = list(function.operations)
    place, found = next(
        (k, o) for k, o in enumerate(operations) if o.kind == "const" and name in o.name
    )
    value = found.attributes["val"]
    data = change(np.array(value.load()))
    operations[place] = replace(found, attributes={"val": replace(value, load=lambda: data)})
    return replace(package, function=replace(function, operations=tuple(operations)))


def _filled(value: float, row: int | None = None) -> Callable[[Array], Array]:
    def change(data: Array) -> Array:
        data[row if row is not None else ...] = value
        return data

    return change


@pytest.mark.parametrize(
    ("constant_name", "change"),
    [
        # [PAD]'s own row: nothing but padding reads it.
        ("word_embeddings_weight", _filled(np.inf, 0)),
        ("word_embeddings_weight", _filled(np.nan, 0)),
        ("v_lin_bias", _filled(np.inf, 3)),
        ("k_lin_weight", lambda data: data * 3e3),
        ("v_lin_weight", lambda data: data * 1e4),
        ("LayerNorm_weight", _filled(3e4)),
    ],
)
def test_what_may_not_be_finite_runs_in_full(
    constant_name: str, change: Callable[[Array], Array], packages: dict[str, Package]
) -> None:
    package = _changed(packages["plain-ios16"], constant_name, change)
    executor, short = short_runs(package)
    for count in (3, 8):
        whole, found = (
            executor.run(text_and_padding(count))["logits"],
            short.run(text_and_padding(count))["logits"],
        )
        assert short.doubt
        assert whole.tobytes() == found.tobytes()


def test_padding_that_is_not_finite_is_seen(packages: dict[str, Package]) -> None:
    """The planted fault that leaving padding out would hide."""
    package = _changed(packages["plain-ios16"], "word_embeddings_weight", _filled(np.inf, 0))
    _, short = short_runs(package)
    assert np.isnan(short.run(text_and_padding(5))["logits"]).all()
    assert np.isfinite(short.run(text_and_padding(LENGTH))["logits"]).all()


@pytest.mark.parametrize("level", [0.0, -1.0, -30.0, -700.0])
def test_a_mask_that_is_too_weak_runs_in_full(level: float, packages: dict[str, Package]) -> None:
    package = packages["plain-ios16"]
    (scale,) = (
        found.name
        for found in package.function.operations
        if found.kind == "const"
        and np.array_equal(np.asarray(found.attributes["val"].load(), object), np.float16(-1e4))
    )
    executor, short = short_runs(_changed(package, scale, _filled(level)))
    whole, found = (
        executor.run(text_and_padding(5))["logits"],
        short.run(text_and_padding(5))["logits"],
    )
    assert short.doubt is not None
    assert "the mask does not keep padding out" in short.doubt
    assert whole.tobytes() == found.tobytes()


@pytest.mark.parametrize(
    "mask", [[0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [2, 1, 0, 0], [1, 1, -1, 0]]
)
def test_any_other_mask_runs_in_full(mask: list[int], packages: dict[str, Package]) -> None:
    executor, short = short_runs(packages["plain-ios16"])
    feed = text_and_padding(LENGTH) | {
        "attention_mask": np.resize(np.array([mask], np.int32), (1, LENGTH))
    }
    whole, found = executor.run(feed)["logits"], short.run(feed)["logits"]
    assert short.doubt == ""
    assert whole.tobytes() == found.tobytes()


def test_padding_outside_the_vocabulary_is_still_refused(packages: dict[str, Package]) -> None:
    _, short = short_runs(packages["plain-ios16"])
    feed = text_and_padding(5)
    feed["input_ids"][0, -1] = VOCABULARY
    with pytest.raises(CoreMLError, match="outside a table"):
        short.run(feed)
    with pytest.raises(CoreMLError, match="shape"):
        short.run(text_and_padding(5, length=LENGTH + 1))
