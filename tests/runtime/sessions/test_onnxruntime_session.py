"""Running ONNX artifacts: right logits, and a plain sentence for whatever is not in order."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from export.reference import Reference, reference_from_model, reference_logits
from export.targets import onnx as target
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, TensorSpec, WeightsSummary
from runtime.sessions import SessionSettings, open_session, session_modules
from runtime.sessions.onnx_file import refuse_external_data

from support import seeded_classifier

ROOT = Path(__file__).parents[3]
INPUTS = (
    TensorSpec("input_ids", "int32", ("batch", "length")),
    TensorSpec("attention_mask", "int32", ("batch", "length")),
)
SPEC = ArtifactSpec(
    path="model.onnx", format="onnx", recipe="float32", precision="float32", bytes=0, sha256="",
    inputs=INPUTS, outputs=(TensorSpec("logits", "float32", ("batch", 3)),), lengths=None,
    minimum_runtime={"onnxruntime": "1.17.0"}, weights=WeightsSummary({}, ()), gate="unknown",
)  # fmt: skip
ONE = SessionSettings()


@pytest.fixture(scope="module")
def reference() -> Reference:
    model = seeded_classifier(4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return reference_from_model(model)


@pytest.fixture(scope="module")
def artifact(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    target.convert(reference, (64,), path)
    return path


def ones(ids: np.ndarray) -> np.ndarray:
    return np.ones_like(ids)


def test_it_is_found_by_its_format() -> None:
    module = session_modules()["onnx"]
    assert module.__name__ == "runtime.sessions.onnxruntime_session"
    assert module.available() is None


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_the_references(reference: Reference, artifact: Path, threads: int) -> None:
    session = open_session(artifact, SPEC, SessionSettings(threads=threads))
    sequences = [[1, 5, 9, 2], [1, 199, 2], [1, 2], list(range(64))]
    want = reference_logits(reference, sequences)
    ids, mask = np.zeros((4, 64), np.int32), np.zeros((4, 64), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    got = session.run(ids, mask)
    assert got.dtype == np.float32
    assert want.std(axis=0).min() > 0.01
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_environment(artifact: Path) -> None:
    found = open_session(artifact, SPEC, SessionSettings(threads=2)).environment
    assert found == {
        "runtime": "onnxruntime",
        "version": onnxruntime.__version__,
        "providers": "CPUExecutionProvider",
        "threads": "2",
        "machine": platform.machine(),
    }


IDS = np.array([[1, 2, 3]], np.int32)


@pytest.mark.parametrize(
    ("ids", "mask", "said"),
    [
        (IDS.astype(np.int64), ones(IDS), "int64"),
        (IDS, ones(IDS).astype(bool), "bool"),
        (IDS, ones(IDS).astype(np.int64), "int64"),
        (IDS[0], ones(IDS[0]), "shape"),
        (IDS[:, :0], IDS[:, :0], "shape"),
        (IDS, ones(IDS)[:, :2], "shape"),
        (IDS, ones(IDS) * 2, "0 and 1"),
        (-IDS, ones(IDS), "ids start at 0"),
        (IDS + 197, ones(IDS), "200"),
        (np.ones((1, 65), np.int32), np.ones((1, 65), np.int32), "[1, 65]"),
    ],
)
def test_inputs_that_cannot_be_run(
    ids: np.ndarray, mask: np.ndarray, said: str, artifact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(artifact, SPEC, ONE)
    with pytest.raises(UserError) as error:
        session.run(ids, mask)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    # Nor does onnxruntime print on its own.
    assert capfd.readouterr() == ("", "")
    # The session survives.
    assert session.run(IDS, ones(IDS)).shape == (1, 3)


def test_a_length_that_the_spec_rules_out(artifact: Path) -> None:
    session = open_session(artifact, dataclasses.replace(SPEC, lengths=(2,)), ONE)
    with pytest.raises(UserError, match="longest is 2"):
        session.run(IDS, ones(IDS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": INPUTS[:1]}, "inputs"),
        ({"inputs": (TensorSpec("ids", "int32", ("batch", "length")), INPUTS[1])}, "inputs"),
        ({"inputs": (TensorSpec("input_ids", "int64", ("batch", "length")), INPUTS[1])}, "inputs"),
        ({"outputs": (TensorSpec("logits", "float16", ("batch", 3)),)}, "outputs"),
        ({"outputs": (TensorSpec("logits", "float32", ("batch", 2)),)}, "outputs"),
        ({"outputs": (TensorSpec("scores", "float32", ("batch", 3)),)}, "outputs"),
    ],
)
def test_a_signature_that_is_not_the_manifests(
    change: dict[str, object], said: str, artifact: Path
) -> None:
    spec = dataclasses.replace(SPEC, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"other {said} than its manifest says"):
        open_session(artifact, spec, ONE)


def test_swapped_inputs_in_the_manifest_are_the_same_names(artifact: Path) -> None:
    session = open_session(artifact, dataclasses.replace(SPEC, inputs=INPUTS[::-1]), ONE)
    np.testing.assert_array_equal(
        session.run(IDS, ones(IDS)), open_session(artifact, SPEC, ONE).run(IDS, ones(IDS))
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_file_cut_short(
    share: float, artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = artifact.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"model\.onnx is not an ONNX file, or is damaged") as error:
        open_session(path, SPEC, ONE)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_flipped_bytes_never_escape_as_other_errors(artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    refused = 0
    # The graph's structure is before and after the weights.
    for position in (*range(60), *rng.integers(0, 12_000, 60)):
        changed = data.copy()
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            open_session(path, SPEC, ONE).run(IDS, ones(IDS))
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello, this is text\n", "damaged"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "refuses"),
    ],
)
def test_files_that_are_no_models(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_session(tmp_path / "model.onnx", SPEC, ONE)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        open_session(tmp_path / "model.onnx", SPEC, ONE)


# --- weights in other files ---------------------------------------------------------------------


def test_weights_in_other_files_are_refused(artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(artifact), path, save_as_external_data=True, location="weights.bin")
    # onnxruntime would follow it.
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with pytest.raises(UserError, match="other files"):
        open_session(path, SPEC, ONE)


def outside(name: str = "secret") -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def hidden(where: str) -> onnx.ModelProto:
    """A model that refers to another file from an unusual place."""
    model = onnx.ModelProto(ir_version=9)
    graph = model.graph
    inner = helper.make_graph([], "inner", [], [], [outside()])
    if where == "constant":
        graph.node.append(helper.make_node("Constant", [], ["c"], value=outside()))
    elif where == "list":
        graph.node.append(helper.make_node("Custom", [], ["c"], tensors=[outside()]))
    elif where == "branch":
        graph.node.append(helper.make_node("If", ["x"], ["c"], then_branch=inner))
    elif where == "graphs":
        graph.node.append(helper.make_node("Custom", [], ["c"], graphs=[inner]))
    elif where == "sparse":
        graph.sparse_initializer.add().values.CopyFrom(outside())
    elif where == "sparse attribute":
        attribute = graph.node.add().attribute.add(type=onnx.AttributeProto.SPARSE_TENSOR)
        attribute.sparse_tensor.indices.CopyFrom(outside())
    elif where == "function":
        model.functions.add().node.add().attribute.add().t.CopyFrom(outside())
    elif where == "training":
        model.training_info.add().algorithm.initializer.append(outside())
    else:  # a location without the flag
        tensor = outside()
        tensor.ClearField("data_location")
        graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize(
    "where",
    [
        "constant", "list", "branch", "graphs", "sparse", "sparse attribute", "function",
        "training", "no flag",
    ],
)  # fmt: skip
def test_other_files_are_found_wherever_they_are_named(where: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(hidden(where).SerializeToString())
    with pytest.raises(UserError, match="other files"):
        refuse_external_data(path)


def test_a_file_that_nests_without_end(tmp_path: Path) -> None:
    model = onnx.ModelProto()
    graph = model.graph
    for _ in range(40):
        graph = graph.node.add().attribute.add().g
    graph.initializer.append(outside())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="damaged"):
        refuse_external_data(tmp_path / "model.onnx")


# --- what is installed --------------------------------------------------------------------------


def python(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_onnxruntime_the_extra_is_named(artifact: Path) -> None:
    said = python(
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'onnxruntime': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\n"
        "from runtime.errors import MissingExtraError\n"
        "from runtime.sessions import SessionSettings\n"
        "from runtime.sessions.onnxruntime_session import open_session\n"
        "try: open_session(Path(sys.argv[1]), None, SessionSettings())\n"
        "except MissingExtraError as error: print(error)\n",
        str(artifact),
    )
    assert "pip install 'mobile-export[onnx]'" in said


def test_it_needs_neither_onnx_nor_torch(artifact: Path) -> None:
    said = python(
        "import sys\n"
        "from pathlib import Path\n"
        "import runtime.sessions.onnxruntime_session as module\n"
        "print('onnxruntime' in sys.modules)\n"
        "from runtime.sessions import SessionSettings\n"
        "try: module.open_session(Path(sys.argv[1]), type('S', (), {'inputs': (), 'outputs': ()}), "
        "SessionSettings())\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(sorted({'onnx', 'torch', 'onnxruntime'} & set(sys.modules)))\n",
        str(artifact),
    )
    assert said.split("\n")[:3] == ["False", "UserError", "['onnxruntime']"]


@pytest.mark.parametrize(
    ("features", "told"), [(("avx2",), True), (("avx2", "avx_vnni"), False), (("asimd",), False)]
)
def test_a_processor_on_which_int8_saturates_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], told: bool
) -> None:
    monkeypatch.setattr("runtime.sessions.onnxruntime_session.features", lambda: features)
    for path in ("model.onnx", "model_int8.onnx"):
        spec = bundle.artifact(path)
        session = open_session(bundle.file(path), spec, SessionSettings())
        note = session.environment.get("leaves_open", "")
        assert ("int8_avx2" in note) == (told and spec.recipe == "int8")
