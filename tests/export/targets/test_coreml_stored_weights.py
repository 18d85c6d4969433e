"""Faults planted in the bytes of saved packages: each is told apart from coarse compression."""

from __future__ import annotations

import dataclasses
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import coreml_job, lively_classifier

from export.recipes import recipes
from export.targets import coreml
from export.targets.base import Job, resolve_options
from export.targets.coreml._affine import quantize_affine
from export.targets.coreml._stored_codes import affine_fault, mask_fault, palette_fault
from export.targets.coreml._stored_weights import check_stored_weights
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Value
from runtime.coreml_reference.weight_codes import Codes
from runtime.coreml_reference.weights import StoredWeight, stored_weights
from runtime.errors import UserError

Bytes = Any
NAMES = ("float16", "int8", "int4", "palettized6", "mixed_palettized", "pruned_int8")
WORDS = "word_embeddings"
Q, K = "layer_0_attention_q_lin_weight", "layer_0_attention_k_lin_weight"


def job_for(name: str, scratch: Path) -> Job:
    job = coreml_job(lively_classifier(dim=64, hidden_dim=128), lengths=(64,), scratch=scratch)
    recipe = recipes("coreml")[name]
    options = resolve_options(coreml, recipe, {"shapes": "fixed"})
    return dataclasses.replace(job, recipe=recipe, options=options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    for name in NAMES:
        coreml.make(job_for(name, folder), folder / f"{name}.mlpackage")
    return folder


def weight_in(package: Path, part: str) -> StoredWeight:
    found = [w for w in stored_weights(read_package(package), minimum=1) if part in w.name]
    assert len(found) == 1
    return found[0]


def value_in(weight: StoredWeight, parameter: str) -> Value:
    found = [link.values[parameter] for link in weight.chain if parameter in link.values]
    assert found[0].blob is not None
    return found[0]


def place_of(package: Path, value: Value) -> tuple[Path, slice]:
    """Where a blob's bytes are, by its metadata in the weight file."""
    assert value.blob is not None
    file = next(package.rglob(Path(value.blob[0]).name))
    sentinel, _, size, start, _ = struct.unpack_from("<IIQQQ", file.read_bytes(), value.blob[1])
    assert sentinel == 0xDEADBEEF
    return file, slice(start, start + size)


def edit(package: Path, value: Value, change: Callable[[Bytes], None]) -> None:
    """Change a blob's bytes in place."""
    file, place = place_of(package, value)
    content = bytearray(file.read_bytes())
    data = np.frombuffer(bytes(content[place]), dtype=np.uint8).copy()
    before = data.copy()
    change(data)
    assert not np.array_equal(before, data), "the fault changed nothing"
    content[place] = data.tobytes()
    file.write_bytes(content)


def one_more(position: int) -> Callable[[Bytes], None]:
    def change(data: Bytes) -> None:
        data[position] += 1 if data.view(np.int8)[position] < 100 else 255

    return change


def flip(position: int, mask: int) -> Callable[[Bytes], None]:
    def change(data: Bytes) -> None:
        data[position] ^= mask

    return change


def swap_rows(width: int, first: int, second: int) -> Callable[[Bytes], None]:
    def change(data: Bytes) -> None:
        rows = data.reshape(-1, width)
        rows[[first, second]] = rows[[second, first]]

    return change


def drop_row(width: int, row: int) -> Callable[[Bytes], None]:
    def change(data: Bytes) -> None:
        data.reshape(-1, width)[row] = 0

    return change


def scaled(position: int, factor: float) -> Callable[[Bytes], None]:
    def change(data: Bytes) -> None:
        data.view(np.float16)[position] *= np.float16(factor)

    return change


FAULTS = {
    "int8: one code": ("int8", Q, "quantized_data", one_more(1000)),
    "int8: one sign bit": ("int8", Q, "quantized_data", flip(1000, 0x80)),
    "int8: a dropped row": ("int8", WORDS, "quantized_data", drop_row(64, 9)),
    "int8: two rows swapped": ("int8", WORDS, "quantized_data", swap_rows(64, 9, 150)),
    "int8: two scales swapped": ("int8", WORDS, "scale", swap_rows(2, 9, 150)),
    "int8: a scale off by 2 %": ("int8", Q, "scale", scaled(5, 1.02)),
    "int8: a scale off by 0.1 %": ("int8", Q, "scale", scaled(5, 1.0015)),
    "int8: a zero point": ("int8", Q, "zero_point", one_more(3)),
    "int4: one code": ("int4", Q, "data", flip(700, 0x10)),
    "int4: one high bit": ("int4", Q, "data", flip(700, 0x80)),
    "int4: a scale off by 2 %": ("int4", Q, "scale", scaled(17, 1.02)),
    "int4: an offset": ("int4", Q, "offset", flip(17, 0x01)),
    "int4: a dropped row": ("int4", WORDS, "data", drop_row(32, 9)),
    "lut6: one index": ("palettized6", Q, "indices", flip(600, 0x01)),
    "lut6: an entry moved": ("palettized6", Q, "lut", scaled(10, 1.05)),
    "lut6: two entries swapped": ("palettized6", Q, "lut", swap_rows(2, 3, 4)),
    "groups: one index": ("mixed_palettized", Q, "indices", flip(600, 0x20)),
    "groups: two tables swapped": ("mixed_palettized", Q, "lut", swap_rows(32, 0, 1)),
    "pruned: one code": ("pruned_int8", Q, "nonzero_data", one_more(500)),
    "pruned: a scale off by 2 %": ("pruned_int8", Q, "scale", scaled(5, 0.98)),
    "pruned: a mask's bits": ("pruned_int8", Q, "data_mask", swap_rows(1, 100, 101)),
    "float: one sign bit": ("float16", "pre_classifier_weight", "val", flip(2001, 0x80)),
    "float: the last bit": ("float16", "pre_classifier_weight", "val", flip(2000, 0x01)),
    "float: a dropped row": ("float16", WORDS, "val", drop_row(128, 9)),
    "float: a bias": ("float16", "layer_1_ffn_lin1_bias", "val", flip(6, 0x01)),
    "float: labels permuted": ("float16", "model_classifier_weight", "val", swap_rows(128, 0, 2)),
    "int8: labels permuted": ("int8", "model_classifier_weight", "val", swap_rows(128, 0, 1)),
}


@pytest.mark.parametrize("name", NAMES)
def test_sound_packages_pass(made: Path, name: str) -> None:
    effective = coreml.effective(made / f"{name}.mlpackage", job_for(name, made))
    assert len(effective.tensors) == len(lively_classifier().state_dict())


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_told(made: Path, tmp_path: Path, fault: str) -> None:
    name, part, parameter, change = FAULTS[fault]
    package = tmp_path / "faulty.mlpackage"
    shutil.copytree(made / f"{name}.mlpackage", package)
    edit(package, value_in(weight_in(package, part), parameter), change)
    with pytest.raises(UserError) as raised:
        coreml.effective(package, job_for(name, made))
    assert part in raised.value.what
    assert "first at" in raised.value.why or "pruned" in raised.value.why


@pytest.mark.parametrize("name", ["float16", "int8", "palettized6"])
def test_swapped_blobs_of_two_layers_are_told(made: Path, tmp_path: Path, name: str) -> None:
    package = tmp_path / "swapped.mlpackage"
    shutil.copytree(made / f"{name}.mlpackage", package)
    query, key = weight_in(package, Q), weight_in(package, K)
    parameters = [p for p, value in query.chain[0].values.items() if value.blob is not None]
    assert parameters
    for parameter in parameters:
        file, first = place_of(package, value_in(query, parameter))
        second = place_of(package, value_in(key, parameter))[1]
        content = bytearray(file.read_bytes())
        content[first], content[second] = content[second], content[first]
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"attention_[qk]_lin_weight"):
        coreml.effective(package, job_for(name, made))


def test_missing_and_strange_weights_are_named(made: Path) -> None:
    package = read_package(made / "int8.mlpackage")
    job = job_for("int8", made)
    state = job.source.reference.module.model.state_dict()
    word = next(w for w in stored_weights(package) if WORDS in w.name)
    original = state["distilbert.embeddings.word_embeddings.weight"].numpy()
    with pytest.raises(UserError, match="it is no weight"):
        check_stored_weights(package, {word.name: original}, job)
    with pytest.raises(UserError, match="no weight nowhere"):
        check_stored_weights(package, {"nowhere": original}, job)
    with pytest.raises(UserError, match=r"has the shape \[200, 64\], not \[64, 200\]"):
        check_stored_weights(package, {word.name: original.T}, job)


def test_another_precision_than_the_recipes_is_told(made: Path) -> None:
    with pytest.raises(UserError, match="is stored in int8, not in lut6"):
        coreml.effective(made / "int8.mlpackage", job_for("palettized6", made))


def test_a_poor_table_is_told_although_codes_and_means_agree() -> None:
    random = np.random.default_rng(0)
    values = np.sort(random.normal(size=(1, 4096))).astype(np.float32)
    # Lloyd's fixed point of a bad start: 15 entries share one cluster of far values, one the rest.
    codes = np.zeros(values.shape, dtype=np.uint8)
    codes[values > 2.2] = 1
    entries = [values[codes == code].astype(np.float64).mean() for code in (0, 1)]
    table = np.array([*entries, *([entries[1]] * 14)], dtype=np.float32)
    codes = (np.abs(values - table[0]) > np.abs(values - table[1])).astype(np.uint8)
    for _ in range(50):
        table[:2] = [values[codes == code].mean() for code in (0, 1)]
        table[2:] = table[1]
        codes = (np.abs(values - table[0]) > np.abs(values - table[1])).astype(np.uint8)
    fault = palette_fault(Codes(codes, None, None, table.reshape(1, 1, 16), None), values)
    assert fault is not None
    assert "worse than k-means" in fault.what


def test_a_mask_of_the_right_size_and_the_wrong_elements_is_told() -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    kept = np.abs(values) > 0.5
    assert mask_fault(kept, values, 1 - kept.mean()) is None
    moved = kept.copy()
    moved[0, 0], moved[5, 0] = moved[5, 0], moved[0, 0]
    fault = mask_fault(moved, values, 1 - kept.mean())
    assert fault is not None
    assert fault.count == 2
    assert mask_fault(None, values, 0.5) is not None
    assert mask_fault(kept, values, 0.0) is not None


def test_scales_of_blocks_too_small_for_float16() -> None:
    tiny = np.full((2, 32), 1e-7, dtype=np.float32)
    tiny[1] = torch.linspace(-1, 1, 32).numpy()
    made = quantize_affine(tiny.astype(np.float16), (2, 1), "int8")
    assert made.scale[0, 0] == 1
    codes = Codes(made.codes, made.scale, made.offset, None, None)
    assert affine_fault(codes, tiny, "int8") is None
