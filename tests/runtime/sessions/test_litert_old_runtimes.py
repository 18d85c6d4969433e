"""Old runtimes: they answer rightly, or refuse with one line; never wrongly without a word.

Each runtime lives in an environment of its own, since none of them works beside today's packages:

    python3.11 -m venv old && old/bin/pip install tflite-runtime==2.14.0 'numpy<2' tokenizers
    python3.11 -m venv first && first/bin/pip install ai-edge-litert==1.0.1 'numpy<2' tokenizers
    OLD_TFLITE_PYTHON=old/bin/python FIRST_LITERT_PYTHON=first/bin/python pytest -m slow

LITERT_PYTHONS names any number of them, with colons between, for the files in int4. Seen on
2026-11-22: tflite-runtime 2.14.0, TensorFlow 2.18.1 and 2.21.0, and the ai-edge-litert releases
1.0.1, 1.1.2, 1.2.0, 1.3.0, 1.4.0, 2.0.2, 2.0.3, 2.1.0 to 2.1.6, 2.2.0 and 2.3.0.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import tflite
from export.targets.tflite._flatbuffer import load
from export.targets.tflite._packing import packed

from support import seeded_classifier

pytestmark = pytest.mark.slow

LENGTHS = (8, 16)
VOCAB = 200
ROOT = Path(__file__).parents[3]
ROWS = [[5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2, 1], [17, 100, 150, 199, 3]]

RECIPE = ("tflite", "r", 1, "int8", "x", "")
_FLOAT = WeightsRule("float32", "none", "none")
_BLOCKS = WeightsRule("int4", "block", "minmax", block=32, scale="bfloat16")
# File → rules of its linear layers and its embeddings.
INT4 = {
    "int4_rows": (_FLOAT, WeightsRule("int4", "row", "minmax")),
    "int4_channels": (WeightsRule("int4", "channel", "minmax"), _FLOAT),
    "int4_blocks": (_BLOCKS, _FLOAT),
    "int4_block_rows": (_FLOAT, _BLOCKS),
}

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, TensorSpec, WeightsSummary
from runtime.sessions import SessionSettings, open_session
path, spec, rows = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
tensors = {
    kind: tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in spec[kind])
    for kind in ("inputs", "outputs")
}
artifact = ArtifactSpec(
    path.name, "tflite", "r", "p", 0, "", **tensors, lengths=tuple(spec["lengths"]),
    minimum_runtime=spec["minimum_runtime"], weights=WeightsSummary({}, ()), gate="pass",
)
try:
    session = open_session(path, artifact, SessionSettings())
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int32)
    logits = session.run(ids, (ids > 0).astype(np.int32)).tolist()
    print(json.dumps({"logits": logits, "environment": session.environment}))
except UserError as error:
    print(json.dumps({"error": str(error)}))
"""


@dataclasses.dataclass(frozen=True)
class Made:
    expected: np.ndarray
    files: dict[str, Path]


def recipe(linear: str, embedding: str) -> Recipe:
    rules = [WeightsRule("int8", each, "minmax") for each in (linear, embedding)]
    return Recipe(*RECIPE, *rules, {}, {})


def tiny_reference() -> Reference:
    model = seeded_classifier(3, num_labels=2, vocab_size=VOCAB, max_position_embeddings=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.ndim == 2 else parameter.add_(0.1)
        # Rows of very unlike size: a runtime that reads only the first scale is far off.
        for linear in model.modules():
            if isinstance(linear, torch.nn.Linear) and linear.out_features > 2:
                linear.weight.mul_(torch.logspace(-1, 0.3, linear.out_features)[:, None])
    return reference_from_model(model)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("old")
    reference = tiny_reference()
    names = ("float32", "int8", "per_tensor", "unstamped", *INT4, "unstamped_blocks")
    files = {n: folder / f"{n}.tflite" for n in names}
    tflite.convert(reference, LENGTHS, files["float32"])
    tflite.quantize(files["float32"], recipe("channel", "row"), files["int8"])
    tflite.quantize(files["float32"], recipe("tensor", "tensor"), files["per_tensor"])
    for name, rules in INT4.items():
        tflite.quantize(files["float32"], Recipe(*RECIPE, *rules, {}, {}), files[name])
    versions = {c.builtinCode: c.version for c in load(files["float32"]).operatorCodes}
    for stamped, plain in (("int8", "unstamped"), ("int4_blocks", "unstamped_blocks")):
        model = load(files[stamped])
        for code in model.operatorCodes:
            code.version = versions[code.builtinCode]
        files[plain].write_bytes(packed(model))
    return Made(reference_logits(reference, ROWS), files)


def run_elsewhere(variable: str, path: Path) -> dict[str, object]:
    python = os.environ.get(variable, "")
    if not python:
        pytest.skip(f"{variable} names no Python with an old runtime")
    return run_with(python, path)


def run_with(python: str, path: Path) -> dict[str, object]:
    spec = json.dumps(dataclasses.asdict(tflite.describe(path)))
    done = subprocess.run(
        [python, "-c", SCRIPT, str(path), spec, json.dumps(ROWS)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_tflite_runtime_runs_float32_with_its_delegate(made: Made) -> None:
    found = run_elsewhere("OLD_TFLITE_PYTHON", made.files["float32"])
    np.testing.assert_allclose(np.array(found["logits"]), made.expected, atol=5e-5)
    assert found["environment"]["runtime"] == "tflite-runtime"  # type: ignore[index]
    assert found["environment"]["delegate"] == "XNNPACK"  # type: ignore[index]


def test_tflite_runtime_refuses_int8_in_one_line(made: Made) -> None:
    found = run_elsewhere("OLD_TFLITE_PYTHON", made.files["int8"])
    assert "too new for tflite-runtime 2.14" in str(found["error"])
    assert "at least ai-edge-litert 1.0.1 or tensorflow 2.18.0" in str(found["error"])
    assert "\n" not in str(found["error"])


def test_without_stamps_tflite_runtime_would_answer_wrongly(made: Made) -> None:
    """Why the stamps are there. Fails on the day that they are no longer needed."""
    assert tflite.shortfalls(made.files["unstamped"])
    found = run_elsewhere("OLD_TFLITE_PYTHON", made.files["unstamped"])
    assert np.abs(np.array(found["logits"]) - made.expected).max() > 0.5 * np.ptp(made.expected)


@pytest.mark.parametrize("variable", ["OLD_TFLITE_PYTHON", "FIRST_LITERT_PYTHON"])
def test_one_scale_per_tensor_runs_everywhere(made: Made, variable: str) -> None:
    found = run_elsewhere(variable, made.files["per_tensor"])
    assert np.abs(np.array(found["logits"]) - made.expected).max() < 0.3 * np.ptp(made.expected)


def test_the_first_litert_runs_stamped_int8(made: Made) -> None:
    found = run_elsewhere("FIRST_LITERT_PYTHON", made.files["int8"])
    assert np.abs(np.array(found["logits"]) - made.expected).max() < 0.2 * np.ptp(made.expected)
    assert found["environment"]["version"] == "1.0.1"  # type: ignore[index]
    assert found["environment"]["delegate"] == "XNNPACK"  # type: ignore[index]


def litert_pythons() -> list[str]:
    found = os.environ.get("LITERT_PYTHONS", "")
    if not found:
        pytest.skip("LITERT_PYTHONS names no Python with a runtime")
    return found.split(":")


def distance(answer: dict[str, object], right: np.ndarray) -> float:
    """Of an answer from the right one, by what right answers differ among themselves."""
    return float(np.abs(np.array(answer["logits"]) - right).max() / np.ptp(right))


@pytest.mark.parametrize("name", INT4)
def test_int4_runs_rightly_or_is_refused(made: Made, name: str) -> None:
    right = np.array(run_with(sys.executable, made.files[name])["logits"])
    answers = {python: run_with(python, made.files[name]) for python in litert_pythons()}
    for python, answer in answers.items():
        if "logits" in answer:
            assert distance(answer, right) < 0.1, python
        else:
            assert "too new for" in str(answer["error"]), python
    if name in ("int4_rows", "int4_channels"):
        assert sum("logits" in answer for answer in answers.values()) >= len(answers) - 1


def test_without_stamps_blocks_would_be_answered_wrongly(made: Made) -> None:
    """Why they have a version of their own. Needs one of 1.2.0, 1.4.0, 2.0.2 and 2.0.3."""
    right = np.array(run_with(sys.executable, made.files["int4_blocks"])["logits"])
    answers = [run_with(python, made.files["unstamped_blocks"]) for python in litert_pythons()]
    assert max(distance(answer, right) for answer in answers if "logits" in answer) > 0.5
