"""A conversion with exchanged tables is the other model's conversion, byte for byte."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import coreml_job, family_classifier

from export import float_cache
from export.families import families
from export.prepare import Prepared, prepared_job
from export.recipes import recipes
from export.reference import Reference, reference_from_model
from export.table_swap import Swap, swap_tables, swaps_between
from export.targets import targets

from support import contents, seeded_classifier

RANDOM = np.random.default_rng(3)
TABLE = RANDOM.standard_normal((40, 8)).astype(np.float32)
OTHER = RANDOM.standard_normal((40, 8)).astype(np.float32)
REST = RANDOM.bytes(333)
TEXTS = tuple(tuple(RANDOM.integers(5, 190, length).tolist()) for length in (3, 9, 17, 30, 8, 4))


def changed(reference: Reference, *names: str) -> Reference:
    model: Any = copy.deepcopy(reference.module.model)
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).mul_(1.01)
    return reference.around(model)


WORDS = "distilbert.embeddings.word_embeddings.weight"
POSITIONS = "distilbert.embeddings.position_embeddings.weight"
LINEAR = "distilbert.transformer.layer.1.ffn.lin1.weight"


def test_tables_that_differ_are_found() -> None:
    before = reference_from_model(seeded_classifier(3))
    assert swaps_between(before, before) == []
    (only,) = swaps_between(before, changed(before, WORDS)) or ()
    assert np.array_equal(only.new, only.old * np.float32(1.01))
    assert len(swaps_between(before, changed(before, WORDS, POSITIONS)) or ()) == 2


def test_other_differences_are_no_matter_of_tables() -> None:
    before = reference_from_model(seeded_classifier(3))
    assert swaps_between(before, changed(before, LINEAR)) is None
    assert swaps_between(before, changed(before, WORDS, LINEAR)) is None
    assert swaps_between(before, reference_from_model(seeded_classifier(3, n_layers=1))) is None


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_table_is_exchanged_wherever_it_is(tmp_path: Path, kind: Any) -> None:
    """Twice, once without its last rows, between other bytes."""
    old, new = TABLE.astype(kind), OTHER.astype(kind)
    parts = [REST, old.tobytes(), REST, old[:17].tobytes(), b"\0" * 500]
    (tmp_path / "old").write_bytes(b"".join(parts))
    assert swap_tables(tmp_path / "old", [Swap(TABLE, OTHER)], tmp_path / "new")
    parts[1], parts[3] = new.tobytes(), new[:17].tobytes()
    assert (tmp_path / "new").read_bytes() == b"".join(parts)


def test_rows_of_zeros_are_not_taken_for_a_table(tmp_path: Path) -> None:
    """Row 0 of a table is often padding's, all zeros, as are biases that were never trained."""
    old, new = TABLE.copy(), OTHER.copy()
    old[0] = 0
    (tmp_path / "old").write_bytes(bytes(2000) + old.tobytes() + bytes(2000))
    assert swap_tables(tmp_path / "old", [Swap(old, new)], tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == bytes(2000) + new.tobytes() + bytes(2000)


@pytest.mark.parametrize("what", ["nothing", "other rows before", "one of two"])
def test_a_table_that_is_not_found_leaves_nothing_behind(tmp_path: Path, what: str) -> None:
    swaps = [Swap(TABLE, OTHER)]
    data = REST
    if what == "other rows before":  # the first rows are another table's
        data = OTHER[:3].tobytes() + TABLE[3:].tobytes()
        swaps = [Swap(np.concatenate([np.zeros_like(TABLE[:3]), TABLE[3:]]), OTHER)]
    if what == "one of two":
        data = TABLE.tobytes()
        swaps.append(Swap(OTHER, TABLE))  # what the first one writes
    (tmp_path / "old").write_bytes(data)
    assert not swap_tables(tmp_path / "old", swaps, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == data


def test_an_interrupted_exchange_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.table_swap._all_swapped", interrupted)
    (tmp_path / "old").write_bytes(TABLE.tobytes())
    with pytest.raises(KeyboardInterrupt):
        swap_tables(tmp_path / "old", [Swap(TABLE, OTHER)], tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_table_of_constant_rows_is_not_sought(tmp_path: Path) -> None:
    flat = np.ones((4, 8), np.float32)
    (tmp_path / "old").write_bytes(flat.tobytes())
    assert not swap_tables(tmp_path / "old", [Swap(flat, TABLE[:4])], tmp_path / "new")


def test_every_file_of_a_folder_is_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "old" / "weights"
    folder.mkdir(parents=True)
    (folder / "weight.bin").write_bytes(TABLE.astype(np.float16).tobytes())
    (folder.parent / "model").write_bytes(REST)
    (folder.parent / "empty").write_bytes(b"")
    assert swap_tables(tmp_path / "old", [Swap(TABLE, OTHER)], tmp_path / "new")
    assert contents(tmp_path / "new") == {
        "empty": b"",
        "model": REST,
        "weights/weight.bin": OTHER.astype(np.float16).tobytes(),
    }


FORMATS = ("coreml", "onnx", "tflite")


def both_ways(
    model: Any, target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, bytes], dict[str, bytes], int]:
    """An int8 artifact by exchange and by conversion, and how many exchanges there were."""
    module, recipe = targets()[target], recipes(target)["int8"]
    swapped: list[bool] = []

    def seen(*arguments: Any) -> bool:
        swapped.append(swap_tables(*arguments))
        return swapped[-1]

    monkeypatch.setattr(float_cache, "swap_tables", seen)
    source = dataclasses.replace(coreml_job(model).source, calibration=TEXTS)
    made = []
    for way in ("exchange", "conversion"):
        scratch = folder / way
        scratch.mkdir()
        options = {"deployment_target": "iOS16"} if target == "coreml" else {}
        job = prepared_job(source, recipe, options, scratch, Prepared())
        assert job.unrounded is not None
        if way == "conversion":
            job = dataclasses.replace(job, unrounded=None)
        path = scratch / "out" / recipe.file
        path.parent.mkdir()
        module.make(job, path)
        made.append(contents(path.parent))
    return made[0], made[1], sum(swapped)


@pytest.mark.parametrize("target", FORMATS)
def test_the_artifact_is_the_same(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged, converted, count = both_ways(seeded_classifier(3), target, tmp_path, monkeypatch)
    assert count == 1
    assert exchanged == converted


def test_a_model_that_rounding_left_alone_is_converted_once(tmp_path: Path) -> None:
    """MobileBERT's small table is below what is rounded."""
    job = dataclasses.replace(coreml_job(), recipe=recipes("onnx")["int8"], options={})
    before = dataclasses.replace(job, unrounded=changed(job.source.reference))
    targets()["onnx"].make(before, tmp_path / "one.onnx")
    targets()["onnx"].make(job, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("family", sorted(set(families()) - {"distilbert"}))
def test_the_artifact_is_the_same_in_every_family(
    family: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a table is not found, it is converted, and the artifact is the same all the more."""
    model = family_classifier(family)
    exchanged, converted, _ = both_ways(model, target, tmp_path, monkeypatch)
    assert exchanged == converted
