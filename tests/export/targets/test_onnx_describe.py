"""What `describe` says is what is in the file, and files that are not in order are refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.recipes import Recipe, WeightsRule
from export.reference import reference_from_model
from export.targets import onnx as target
from export.targets.base import WeightInfo
from runtime.constants_digest import REST_NAME, REST_ROLE
from runtime.errors import UserError
from runtime.manifest import TensorSpec

from support import seeded_classifier


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = seeded_classifier(2, vocab_size=300, n_layers=1, max_position_embeddings=48)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    target.convert(reference_from_model(model), (48,), path)
    return path


@pytest.fixture(scope="module")
def int8(floats: Path) -> Path:
    recipe = Recipe(
        target="onnx", name="int8", version=1, precision="int8", file="m.onnx", summary="",
        linear=WeightsRule("int8", "channel", "minmax"),
        embedding=WeightsRule("int8", "row", "minmax"), gate={}, observed={},
    )  # fmt: skip
    path = floats.with_name("model_int8.onnx")
    target.quantize(floats, recipe, path)
    return path


BLOCK = "distilbert.transformer.layer.0"
LINEAR = {
    f"{BLOCK}.attention.q_lin.weight": (64, 64),
    f"{BLOCK}.attention.k_lin.weight": (64, 64),
    f"{BLOCK}.attention.v_lin.weight": (64, 64),
    f"{BLOCK}.attention.out_lin.weight": (64, 64),
    f"{BLOCK}.ffn.lin1.weight": (64, 128),
    f"{BLOCK}.ffn.lin2.weight": (128, 64),
    "pre_classifier.weight": (64, 64),
}
TABLES = {
    "distilbert.embeddings.word_embeddings.weight": (300, 64),
    "distilbert.embeddings.position_embeddings.weight": (48, 64),
}


def without_digests(path: Path) -> set[WeightInfo]:
    return {
        dataclasses.replace(weight, bits=None, sha256=None)
        for weight in target.describe(path).weights
        if weight.role != REST_ROLE
    }


def test_float_weights(floats: Path) -> None:
    assert without_digests(floats) == {
        WeightInfo(n, s, "float32", "linear", 0) for n, s in LINEAR.items()
    } | {WeightInfo(n, s, "float32", "embedding", 0) for n, s in TABLES.items()}


def test_int8_weights(int8: Path) -> None:
    # 300 row scales are more than the 256 elements from which a weight is listed: they are not
    # weights, though.
    assert without_digests(int8) == {
        WeightInfo(f"{n}/int8", s, "int8", "linear", s[1]) for n, s in LINEAR.items()
    } | {WeightInfo(f"{n}/int8_rows", s, "int8", "embedding", s[0]) for n, s in TABLES.items()}


def test_bits_count_the_scales(floats: Path, int8: Path) -> None:
    assert {w.bits for w in target.describe(floats).weights if w.role != REST_ROLE} == {32}
    bits = {w.name: w.bits for w in target.describe(int8).weights}
    assert bits["pre_classifier.weight/int8"] == 8 + 32 / 64
    assert bits["distilbert.embeddings.word_embeddings.weight/int8_rows"] == 8 + 32 / 64


@pytest.mark.parametrize("which", ["floats", "int8"])
def test_every_constant_has_a_part_in_one_digest(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A change of any tensor, scales and scalars included, shows under one name."""
    path = request.getfixturevalue(which)
    sound = {w.name: w.sha256 for w in target.describe(path).weights}
    assert len(sound) == len(LINEAR) + len(TABLES) + 1
    assert all(sound.values())
    for index, stored in enumerate(onnx.load(path).graph.initializer):
        model = onnx.load(path)
        array = numpy_helper.to_array(stored).copy()
        array.reshape(-1)[-1] += 1
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, stored.name))
        onnx.save(model, tmp_path / "m.onnx")
        found = {w.name: w.sha256 for w in target.describe(tmp_path / "m.onnx").weights}
        changed = {name for name in sound if found[name] != sound[name]}
        assert changed == {stored.name if stored.name in sound else REST_NAME}


@pytest.mark.parametrize("which", ["floats", "int8"])
def test_signature_and_runtime(which: str, request: pytest.FixtureRequest) -> None:
    found = target.describe(request.getfixturevalue(which))
    assert found.inputs == (
        TensorSpec("input_ids", "int32", ("batch", "length")),
        TensorSpec("attention_mask", "int32", ("batch", "length")),
    )
    assert found.outputs == (TensorSpec("logits", "float32", ("batch", 3)),)
    assert found.lengths is None
    # The first with opset 20; its predecessor was tried and refuses the file.
    assert found.minimum_runtime == {"onnxruntime": "1.17.0"}


@pytest.mark.parametrize("which", ["floats", "int8"])
def test_operators_are_counted(which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    found = target.describe(path).operators
    assert found == Counter(node.op_type for node in onnx.load(path).graph.node)
    assert list(found) == sorted(found)


def test_other_things_are_told_apart(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 19]> g (float[n, 256] x) => (float[n, 256] y)'
        "{ t = Transpose(w) m = MatMul(x, t) a = Add(m, bias) h = Cast<to = 1>(half)"
        "  s = Add(a, h) y = Add(s, short) }"
    )
    for name, array in {
        "w": np.ones((256, 256), np.float32),
        "bias": np.ones(256, np.float32),
        "half": np.ones(256, np.float16),
        "short": np.ones(1, np.float32),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    found = target.describe(tmp_path / "m.onnx")
    assert without_digests(tmp_path / "m.onnx") == {
        WeightInfo("w", (256, 256), "float32", "linear", 0),
        WeightInfo("bias", (256,), "float32", "other", 0),
        WeightInfo("half", (256,), "float16", "other", 0),
    }
    assert found.minimum_runtime == {"onnxruntime": "1.15.0"}


def test_a_version_that_we_do_not_know(floats: Path, tmp_path: Path) -> None:
    model = onnx.load(floats)
    model.opset_import[0].version = 22
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="opset 22"):
        target.describe(tmp_path / "m.onnx")


def damaged(path: Path, kind: str) -> bytes:
    data = path.read_bytes()
    if kind == "cut":
        return data[: len(data) // 2]
    if kind == "one byte short":
        return data[:-1]
    if kind == "text":
        return b"not a model at all\n" * 50
    if kind == "zeros":
        return bytes(len(data))
    if kind == "no graph":
        return onnx.ModelProto(ir_version=9).SerializeToString()
    return b""


@pytest.mark.parametrize("kind", ["cut", "one byte short", "text", "zeros", "no graph", "empty"])
def test_damaged_files(kind: str, floats: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(damaged(floats, kind))
    with pytest.raises(UserError, match=r"m\.onnx") as error:
        target.describe(path)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        target.describe(tmp_path / "none.onnx")


def test_a_weight_of_the_wrong_size(floats: Path, tmp_path: Path) -> None:
    model = onnx.load(floats)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError):
        target.describe(tmp_path / "m.onnx")


@pytest.mark.parametrize("present", [True, False])
def test_weights_in_other_files_are_refused(present: bool, floats: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(onnx.load(floats), path, save_as_external_data=True, location="weights.bin")
    if not present:
        (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match="other files"):
        target.describe(path)


def test_without_its_packages_it_says_what_to_install() -> None:
    # -S leaves site-packages out: the absence is real, and the import works all the same.
    done = subprocess.run(
        [sys.executable, "-S", "-c", ABSENT, str(Path(__file__).parents[3])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("pip install 'mobile-export[export]'" in line for line in lines)


ABSENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from export.targets import onnx
from runtime.errors import MissingExtraError
print(onnx.available())
try:
    onnx.describe(Path("model.onnx"))
except MissingExtraError as error:
    print(error)
"""
