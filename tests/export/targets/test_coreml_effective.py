"""The parameters read back from a package, as the arithmetic uses them; wrong wiring shows.

The graph part of the gate: our executor in float32 against PyTorch on the package's own weights.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import (
    LENGTHS,
    coreml_job,
    lively_classifier,
    package_logits,
    padded_batch,
    torch_logits,
)

from export.artifacts import effective_reference
from export.recipes import recipes
from export.targets import coreml
from export.targets.base import Job
from export.targets.coreml._names import constant_name, parameters_by_constant
from runtime.errors import UserError

GRAPH_GATE = 1e-4
POSITIONS = "distilbert.embeddings.position_embeddings.weight"
MODEL = "Data/com.apple.CoreML/model.mlmodel"

CASES: list[dict[str, str]] = [
    {},
    {"compute_precision": "float32", "shapes": "range"},
    {"layout": "ane"},
    {"deployment_target": "iOS18", "shapes": "enumerated", "outputs": "classifier"},
    {"deployment_target": "iOS18", "shapes": "enumerated", "layout": "ane"},
    {"deployment_target": "iOS17", "shapes": "range"},
]


def graph_difference(package: Path, job: Job) -> float:
    """Largest difference of a logit between the saved graph and PyTorch on the same weights."""
    effective = coreml.effective(package, job)
    module = effective_reference(job.source.reference, effective).module
    worst = 0.0
    for length in coreml.describe(package).lengths or (1, LENGTHS[-1]):
        ids, mask = padded_batch(length)
        difference = package_logits(package, ids, mask) - torch_logits(module, ids, mask)
        worst = max(worst, float(np.abs(difference).max()))
    return worst


@pytest.mark.parametrize("options", CASES, ids=lambda o: "-".join(o.values()) or "plain")
def test_every_parameter_as_stored(tmp_path: Path, options: dict[str, str]) -> None:
    package, job = tmp_path / "model.mlpackage", coreml_job(**options)
    coreml.make(job, package)
    effective = coreml.effective(package, job)
    state = job.source.reference.module.model.state_dict()
    assert effective.tensors.keys() == state.keys()
    half = job.options["compute_precision"] == "float16"
    fused = "scaled_dot_product_attention" in coreml.describe(package).operators
    for name, original in state.items():
        wanted = original.half().float() if half else original.clone()
        if name == POSITIONS:
            wanted[LENGTHS[-1] :] = original[LENGTHS[-1] :]
        if "q_lin" in name and half and not fused:
            wanted *= np.float32(float(np.float16(8**-0.5)) / 8**-0.5)
        assert effective.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(effective.tensors[name], wanted.numpy())
    assert effective.layer_norm_eps == (2.0**-24 if half else float(np.float32(1e-12)))
    assert graph_difference(package, job) <= 2e-5


def test_another_epsilon_is_the_models_own(tmp_path: Path) -> None:
    model = lively_classifier()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3
    package, job = tmp_path / "model.mlpackage", coreml_job(model)
    coreml.make(job, package)
    assert coreml.effective(package, job).layer_norm_eps == float(np.float16(1e-3))
    assert graph_difference(package, job) <= 2e-5
    model.distilbert.embeddings.LayerNorm.eps = 1e-5
    with pytest.raises(UserError, match="LayerNorms have the epsilons"):
        coreml.effective(package, job)


def twins(model: Any) -> Any:
    """Layers with equal weights, biases that are all zero and values that float16 merges."""
    first, second = model.distilbert.transformer.layer
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        for block in (first, second):
            block.attention.q_lin.bias.zero_()
            block.attention.k_lin.bias.zero_()
            block.ffn.lin1.weight[0, 0] = 1e-9
            second.ffn.lin1.weight[0, 0] = -1e-9
    return model


@pytest.mark.parametrize("layout", ["default", "ane"])
def test_layers_with_equal_weights(tmp_path: Path, layout: str) -> None:
    model = twins(lively_classifier())
    package, job = tmp_path / "model.mlpackage", coreml_job(model, layout=layout)
    coreml.make(job, package)
    assert graph_difference(package, job) <= 2e-5


def test_values_below_float16_become_zero(tmp_path: Path) -> None:
    """coremltools would put the smallest number above zero into short vectors."""
    model = lively_classifier()
    with torch.no_grad():
        model.classifier.bias[:] = torch.tensor([1e-9, -1e-9, 3e-8])
    package, job = tmp_path / "model.mlpackage", coreml_job(model)
    coreml.make(job, package)
    bias = coreml.effective(package, job).tensors["classifier.bias"]
    np.testing.assert_array_equal(bias, np.float32([0.0, 0.0, 2.0**-24]))


# --- planted faults: the weights are right, the graph is not -------------------------------------


class Program:
    """A package's operations, to be changed in place."""

    def __init__(self, package: Path) -> None:
        from coremltools.proto import Model_pb2

        self.file = package / MODEL
        self.model = Model_pb2.Model()
        self.model.ParseFromString(self.file.read_bytes())
        (block,) = self.model.mlProgram.functions["main"].block_specializations.values()
        self.operations = block.operations

    def of(self, kind: str) -> list[Any]:
        return [operation for operation in self.operations if operation.type == kind]

    def constant(self, operation: Any, parameter: str) -> Any:
        name = operation.inputs[parameter].arguments[0].name
        (found,) = (o for o in self.of("const") if o.outputs[0].name == name)
        return found.attributes["val"].immediateValue.tensor

    def constants_first(self) -> None:
        """So that any operation may use any constant."""
        ordered = sorted(self.operations, key=lambda operation: operation.type != "const")
        copies = [
            type(operation).FromString(operation.SerializeToString()) for operation in ordered
        ]
        del self.operations[:]
        self.operations.extend(copies)

    def save(self) -> None:
        self.file.write_bytes(self.model.SerializeToString(deterministic=True))


def swap_arguments(program: Program) -> None:
    """Query and key of the second layer."""
    program.constants_first()
    linears = program.of("linear")
    first, second = (linears[6 + n].inputs["weight"].arguments[0] for n in (0, 1))
    first.name, second.name = second.name, first.name


def swap_layers(program: Program) -> None:
    program.constants_first()
    norms = program.of("layer_norm")
    for parameter in ("gamma", "beta"):
        first, second = (norms[n].inputs[parameter].arguments[0] for n in (1, 3))
        first.name, second.name = second.name, first.name


def tanh_gelu(program: Program) -> None:
    for gelu in program.of("gelu"):
        program.constant(gelu, "mode").strings.values[0] = "TANH_APPROXIMATION"


def wrong_scale(program: Program) -> None:
    """One layer's attention: the first product is the mask's."""
    program.constant(program.of("mul")[1], "y").bytes.values = np.float16(0.36).tobytes()


def wrong_epsilon(program: Program) -> None:
    tensor = program.constant(program.of("layer_norm")[3], "epsilon")
    tensor.bytes.values = np.float16(1e-2).tobytes()


def weak_mask(program: Program) -> None:
    # The mask's product comes first, before those with the attention's scale.
    program.constant(program.of("mul")[0], "y").bytes.values = np.float16(-3.0).tobytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Job]]:
    package, job = tmp_path_factory.mktemp("plain") / "model.mlpackage", coreml_job()
    coreml.make(job, package)
    yield package, job


@pytest.mark.parametrize(
    "fault",
    [swap_arguments, swap_layers, tanh_gelu, wrong_scale, wrong_epsilon, weak_mask],
    ids=lambda fault: fault.__name__,
)
def test_a_wrong_graph_is_told_from_its_weights(
    tmp_path: Path, plain: tuple[Path, Job], fault: Callable[[Program], None]
) -> None:
    package, job = tmp_path / "model.mlpackage", plain[1]
    shutil.copytree(plain[0], package)
    assert graph_difference(package, job) <= 2e-5
    program = Program(package)
    fault(program)
    program.save()
    difference = graph_difference(package, job)
    assert difference > GRAPH_GATE, difference


def test_swapped_names_are_wrong_weights(tmp_path: Path, plain: tuple[Path, Job]) -> None:
    """The arithmetic is the same, yet the names lie: the stored weights are not the parameters."""
    package, job = tmp_path / "model.mlpackage", plain[1]
    shutil.copytree(plain[0], package)
    program = Program(package)
    names = [o.outputs[0].name for o in program.of("const") if "q_lin_weight" in o.outputs[0].name]
    assert len(names) == 2
    other = dict(zip(names, reversed(names), strict=True))
    for operation in program.operations:
        for output in operation.outputs:
            output.name = other.get(output.name, output.name)
        for argument in (a for value in operation.inputs.values() for a in value.arguments):
            if argument.WhichOneof("binding") == "name":
                argument.name = other.get(argument.name, argument.name)
    program.save()
    with pytest.raises(UserError, match="q_lin"):
        coreml.effective(package, job)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("model_classifier_weight_of_another", "the artifact lacks classifier.weight"),
        ("model_pre_classifier_bias", "holds pre_classifier.bias twice"),
    ],
)
def test_a_renamed_constant_is_named(
    tmp_path: Path, plain: tuple[Path, Job], new: str, message: str
) -> None:
    package, job = tmp_path / "model.mlpackage", plain[1]
    shutil.copytree(plain[0], package)
    program = Program(package)
    for operation in program.operations:
        if operation.outputs[0].name == "model_classifier_weight_to_fp16":
            operation.outputs[0].name = new
        for argument in (a for value in operation.inputs.values() for a in value.arguments):
            if argument.name == "model_classifier_weight_to_fp16":
                argument.name = new
    program.save()
    with pytest.raises(UserError, match=message):
        coreml.effective(package, job)


def test_a_weight_that_no_parameter_is_behind_is_refused(tmp_path: Path) -> None:
    """A package with a layer more than the model."""
    package = tmp_path / "model.mlpackage"
    larger = lively_classifier(n_layers=3)
    coreml.make(coreml_job(larger), package)
    smaller = copy.deepcopy(larger)
    smaller.distilbert.transformer.layer = larger.distilbert.transformer.layer[:2]
    with pytest.raises(UserError, match="layer_2_") as caught:
        coreml.effective(package, coreml_job(smaller))
    assert caught.value.why == "it is no weight of the model's"


@pytest.mark.parametrize("layout", ["default", "ane"])
def test_compressed_weights_are_told_from_the_graph_too(tmp_path: Path, layout: str) -> None:
    float_job = coreml_job(lively_classifier(dim=64, hidden_dim=96), layout=layout)
    package = tmp_path / "model.mlpackage"
    job = dataclasses.replace(float_job, recipe=recipes("coreml")["int8"], scratch=tmp_path)
    coreml.make(job, package)
    assert {weight.precision for weight in coreml.describe(package).weights} >= {"int8"}
    ids, mask = padded_batch(LENGTHS[-1])
    whole = torch_logits(job.source.reference.module, ids, mask)
    assert np.abs(package_logits(package, ids, mask) - whole).max() > 1e-3
    assert graph_difference(package, job) <= 2e-5


def test_another_shape_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(lively_classifier(vocab_size=150)), package)
    with pytest.raises(UserError, match=r"word_embeddings\.weight in the shape \[150, 32\]"):
        coreml.effective(package, coreml_job(lively_classifier()))


def test_names() -> None:
    parameters = ("a.b.weight", "a.b.bias", "a.b.bias_quantized")
    assert constant_name("a.b.weight") == "model_a_b_weight"
    found = parameters_by_constant(
        ("model_a_b_weight_to_fp16", "model_a_b_bias_to_fp16_quantized", "model_a", "other"),
        parameters[:2],
    )
    assert found == {
        "model_a_b_weight_to_fp16": "a.b.weight",
        "model_a_b_bias_to_fp16_quantized": "a.b.bias",
    }
    with pytest.raises(UserError, match="twice"):
        parameters_by_constant(("model_a_b_bias", "model_a_b_bias_to_fp16"), parameters[:2])
    with pytest.raises(UserError, match="one name"):
        parameters_by_constant((), ("a.b", "a_b"))
