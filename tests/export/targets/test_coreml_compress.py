"""Every compression recipe on a small model: reached everywhere, run, and made again elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import coreml_job, lively_classifier, padded_batch, torch_logits

from export.recipes import Recipe, WeightsRule, recipes
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.reference import LogitsOnly
from export.targets import coreml
from export.targets.base import Effective, Job, resolve_options
from export.targets.coreml._compress import compress
from export.targets.coreml._convert import float_package
from export.targets.precision import check_precision
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.weights import stored_weights
from runtime.errors import UserError

from support import ROOT

LENGTHS = (16, 64)
RECIPES = {name: recipe for name, recipe in recipes("coreml").items() if recipe.quantizes}
# Bits per element, scales, tables and masks included, of a weight of 64 inputs: lowest, highest.
BITS = {
    "int8": (8.0, 8.5),
    "int4": (4.5, 4.7),
    "palettized6": (6.0, 6.3),
    "palettized4": (4.0, 4.1),
    "mixed_palettized": (4.0, 6.3),
    "mixed_int4": (4.5, 8.5),
    "pruned_int8": (5.0, 5.5),
    "pruned_palettized4": (3.0, 3.1),
    "w8a8": (8.0, 8.5),
}


def model(**sizes: int) -> Any:
    # Heads 16 wide: 16^-0.5 is a number that float16 has, so that the graph part is exact.
    return lively_classifier(**({"dim": 64, "hidden_dim": 128} | sizes))


def job_for(recipe: Recipe, scratch: Path, a_model: Any = None, **options: str) -> Job:
    job = coreml_job(a_model or model(), lengths=LENGTHS, scratch=scratch)
    random = np.random.default_rng(5)
    texts = tuple(
        tuple(int(i) for i in random.integers(1, 200, random.integers(3, 60))) for _ in range(12)
    )
    return dataclasses.replace(
        job,
        recipe=recipe,
        options=resolve_options(coreml, recipe, options),
        source=dataclasses.replace(job.source, calibration=texts),
    )


def digest(package: Path) -> str:
    files = sorted(path for path in package.rglob("*") if path.is_file())
    whole = b"".join(str(f.relative_to(package)).encode() + f.read_bytes() for f in files)
    return hashlib.sha256(whole).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compressed")


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Path]:
    """One package per recipe, from float packages that recipes of equal options share."""
    found = {}
    for name, recipe in RECIPES.items():
        found[name] = folder / recipe.file
        coreml.make(job_for(recipe, folder), found[name])
    return found


def torch_with(effective: Effective, original: Any, ids: Any, mask: Any) -> Any:
    state = {name: torch.tensor(value) for name, value in effective.tensors.items()}
    original.load_state_dict(state)
    for module in original.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = effective.layer_norm_eps
    return torch_logits(LogitsOnly(original), ids, mask)


def test_every_recipe_is_expected_here() -> None:
    assert set(RECIPES) == set(BITS)
    assert [name for name, recipe in RECIPES.items() if recipe.default] == ["int8"]


@pytest.mark.parametrize("name", RECIPES)
def test_no_large_weight_is_left_out(made: dict[str, Path], name: str) -> None:
    description = coreml.describe(made[name])
    check_precision(description, RECIPES[name], name)
    large = [w for w in description.weights if w.elements >= LARGE_WEIGHT_ELEMENTS]
    parameters = [v for v in model().state_dict().values() if v.numel() >= LARGE_WEIGHT_ELEMENTS]
    assert len(large) == len(parameters) == 2 + 2 * 6 + 1
    assert sum(w.role == "embedding" for w in large) == 2
    low, high = BITS[name]
    for weight in large:
        assert not weight.precision.startswith("float"), weight.name
        assert weight.bits is not None
        assert low <= weight.bits <= high, (weight.name, weight.bits)
    small = [w for w in description.weights if w.elements < LARGE_WEIGHT_ELEMENTS]
    assert all(w.precision.startswith(("float", "int32")) for w in small)


@pytest.mark.parametrize("name", RECIPES)
def test_graph_agrees_with_torch_on_the_effective_weights(
    made: dict[str, Path], folder: Path, name: str
) -> None:
    effective = coreml.effective(made[name], job_for(RECIPES[name], folder))
    settings = ExecutorSettings(mode="f32", quantize_activations=False)
    executor = Executor(read_package(made[name]), settings)
    for length in coreml.describe(made[name]).lengths or ():
        ids, mask = padded_batch(length)
        rows = [
            executor.run({"input_ids": ids[k : k + 1], "attention_mask": mask[k : k + 1]})["logits"]
            for k in range(len(ids))
        ]
        expected = torch_with(effective, model(), ids, mask)
        np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-4)
        original = torch_logits(LogitsOnly(model()), ids, mask)
        assert np.abs(expected - original).max() > 1e-3  # the weights are not the original ones


@pytest.mark.slow
def test_the_same_bytes_in_another_process(made: dict[str, Path], folder: Path) -> None:
    again = folder / "again"
    again.mkdir()
    names = ["int8", "int4", "mixed_palettized", "pruned_int8", "pruned_palettized4", "w8a8"]
    script = (
        "import sys; from pathlib import Path; from export.targets import coreml\n"
        "from test_coreml_compress import RECIPES, digest, job_for\n"
        f"folder, again = Path({str(folder)!r}), Path({str(again)!r})\n"
        f"for name in {names!r}:\n"
        "    coreml.make(job_for(RECIPES[name], folder), again / name)\n"
        "    print(digest(again / name))\n"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    environment = {"PYTHONPATH": ":".join(paths), "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"}
    found = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PATH": "/usr/bin:/bin", "HOME": str(again)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [digest(made[name]) for name in names]


@pytest.mark.parametrize("name", ["int8", "palettized4", "w8a8"])
def test_convolutions_are_reached_too(tmp_path: Path, name: str) -> None:
    job = job_for(RECIPES[name], tmp_path, layout="ane")
    package = tmp_path / "ane.mlpackage"
    coreml.make(job, package)
    description = coreml.describe(package)
    check_precision(description, job.recipe, name)
    assert description.operators.get("quantize", 0) == (11 if name == "w8a8" else 0)
    ids, mask = padded_batch(LENGTHS[-1])
    expected = torch_with(coreml.effective(package, job), model(), ids, mask)
    settings = ExecutorSettings(mode="f32", quantize_activations=False)
    logits = Executor(read_package(package), settings).run(
        {"input_ids": ids[2:3], "attention_mask": mask[2:3]}
    )["logits"]
    np.testing.assert_allclose(logits, expected[2:3], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("int8", {"compute_precision": "float32"}),
        ("w8a8", {"compute_precision": "float32", "shapes": "range"}),
        ("palettized6", {"compute_precision": "float32", "outputs": "classifier"}),
        ("pruned_palettized4", {"compute_precision": "float32"}),
        ("w8a8", {"deployment_target": "iOS18", "shapes": "enumerated"}),
        ("mixed_int4", {"shapes": "range", "outputs": "classifier"}),
    ],
)
def test_recipes_go_with_other_options(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    job = job_for(RECIPES[name], tmp_path, **options)
    package = tmp_path / "made.mlpackage"
    coreml.make(job, package)
    check_precision(coreml.describe(package), job.recipe, name)
    settings = ExecutorSettings(mode="f32", quantize_activations=False)
    ids, mask = padded_batch(LENGTHS[-1])
    found = Executor(read_package(package), settings).run(
        {"input_ids": ids[3:4], "attention_mask": mask[3:4]}
    )["logits"]
    expected = torch_with(coreml.effective(package, job), model(), ids[3:4], mask[3:4])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_activations_are_rounded_before_linear_layers_alone(made: dict[str, Path]) -> None:
    function = read_package(made["w8a8"]).function
    makers = {output.name: op for op in function.operations for output in op.outputs}
    linear = [op for op in function.operations if op.kind == "linear"]
    from_dequantize = [op for op in linear if makers[str(op.inputs["x"][0])].kind == "dequantize"]
    assert len(linear) == len(from_dequantize) == 2 * 6 + 2
    kinds = [op.kind for op in function.operations]
    # q, k and v share their input, but the last block's q, which reads one position of it.
    assert kinds.count("quantize") == kinds.count("dequantize") == 2 * 4 + 1 + 2
    rounded = Executor(read_package(made["w8a8"]), ExecutorSettings(mode="f32"))
    plain = Executor(
        read_package(made["w8a8"]), ExecutorSettings(mode="f32", quantize_activations=False)
    )
    ids, mask = padded_batch(LENGTHS[-1])
    feed = {"input_ids": ids[:1], "attention_mask": mask[:1]}
    difference = np.abs(rounded.run(feed)["logits"] - plain.run(feed)["logits"]).max()
    assert 1e-5 < difference < 0.5


def test_padding_does_not_widen_ranges(folder: Path) -> None:
    from export.targets.coreml._calibrate import activation_scales

    job = job_for(RECIPES["w8a8"], folder)
    floats = float_package(job)
    text = (5, 6, 7)
    short = dataclasses.replace(job.source, calibration=(text,))
    told: list[tuple[int, int]] = []
    scales = activation_scales(
        floats, dataclasses.replace(job, source=short), lambda done, of: told.append((done, of))
    )
    assert told == [(1, 1)]
    # By hand: the inputs of the first layer's q_lin are the embeddings of three tokens.
    bert = model().distilbert
    with torch.no_grad():
        inside = bert.embeddings(torch.tensor([text])).abs().max().item()
        padded = bert.embeddings(torch.tensor([[*text, *([0] * 61)]])).abs().max().item()
    assert padded > inside * 1.01
    assert next(iter(scales.values())) == pytest.approx(inside / 127, rel=2e-3)
    # The last two see the first token alone: every feature of it counts.
    with torch.no_grad():
        first = bert(torch.tensor([text])).last_hidden_state[:, 0]
        hidden = torch.relu(model().pre_classifier(first))
    expected = [first.abs().max().item() / 127, hidden.abs().max().item() / 127]
    assert list(scales.values())[-2:] == pytest.approx(expected, rel=5e-3)


def test_a_wide_classifier_is_grouped_along_its_inputs(tmp_path: Path) -> None:
    job = job_for(RECIPES["mixed_palettized"], tmp_path, model(num_labels=77))
    package = tmp_path / "wide.mlpackage"
    coreml.make(job, package)
    check_precision(coreml.describe(package), job.recipe, "wide")
    weights = stored_weights(read_package(package))
    classifier = next(w for w in weights if "_classifier" in w.name and w.shape == (77, 64))
    tables = classifier.codes().tables
    assert tables is not None
    assert tables.shape == (1, 4, 16)
    coreml.effective(package, job)


def test_a_row_of_zeros_stays_zero(tmp_path: Path) -> None:
    a_model = model()
    with torch.no_grad():
        a_model.distilbert.embeddings.word_embeddings.weight[0] = 0.0
    for name in ("int8", "int4"):
        job = job_for(RECIPES[name], tmp_path, a_model)
        package = tmp_path / f"{name}.mlpackage"
        coreml.make(job, package)
        rows = coreml.effective(package, job).tensors[
            "distilbert.embeddings.word_embeddings.weight"
        ]
        assert not rows[0].any()
        assert np.isfinite(rows).all()
        assert rows[1].any()


@pytest.mark.parametrize(
    ("name", "options", "sizes", "words"),
    [
        ("int4", {"deployment_target": "iOS16", "shapes": "fixed"}, {}, ("int4", "iOS18")),
        ("w8a8", {"deployment_target": "iOS16"}, {}, ("w8a8", "iOS17")),
        ("pruned_int8", {"deployment_target": "iOS17"}, {}, ("pruned_int8", "iOS18")),
        ("int8", {}, {"hidden_dim": 4096}, ("lin1_bias", "[4096]", "vector")),
        ("int4", {}, {"dim": 72}, ("word_embeddings", "[200, 72]", "blocks of 32")),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, name: str, options: dict[str, str], sizes: dict[str, int], words: Any
) -> None:
    job = job_for(RECIPES[name], tmp_path, model(**sizes), **options)
    with pytest.raises(UserError) as raised:
        coreml.make(job, tmp_path / "never.mlpackage")
    for word in words:
        assert word in str(raised.value)
    assert not (tmp_path / "never.mlpackage").exists()


def test_activations_need_texts(tmp_path: Path) -> None:
    job = job_for(RECIPES["w8a8"], tmp_path)
    silent = dataclasses.replace(job, source=dataclasses.replace(job.source, calibration=()))
    with pytest.raises(UserError, match="needs texts"):
        coreml.make(silent, tmp_path / "never.mlpackage")


@pytest.mark.parametrize(
    "rule",
    [
        WeightsRule("int4", "block", "minmax", 32),
        WeightsRule("int8", "channel", "octav"),
        WeightsRule("lut4", "group", "kmeans"),
        WeightsRule("uint4", "block", "minmax", 32, 0.5),
    ],
)
def test_unknown_rules_are_refused(folder: Path, rule: WeightsRule) -> None:
    recipe = dataclasses.replace(RECIPES["mixed_int4"], linear=rule)
    job = job_for(recipe, folder)
    floats = float_package(job)
    with pytest.raises(UserError, match="mixed_int4"):
        compress(floats, job, folder / "never.mlpackage")
    assert not (folder / "never.mlpackage").exists()
