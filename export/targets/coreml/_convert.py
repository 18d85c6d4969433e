"""PyTorch → Core ML program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.float_cache import float_conversion
from export.reference import Reference
from export.targets.base import Job
from export.targets.coreml._module import module_for
from export.targets.coreml._options import Options, options_of
from export.targets.coreml._overflow import check_range
from export.targets.coreml._quiet import contained
from export.targets.coreml._save import save_package
from runtime.errors import UserError
from runtime.files import canonical_json

INPUTS = ("input_ids", "attention_mask")
# coremltools' own convention for classifiers, which Xcode's generated classes show as properties.
LABEL = "classLabel"
PROBABILITIES = "classLabel_probs"
# The tensor they are made of; not an output.
_PROBABILITIES = "probabilities"

_ANGULAR = ("sin", "cos")

# Passes that would keep a parameter from being found under its name, or change its arithmetic.
_LEFT_OUT = {
    # Gives two layers with equal weights one constant, called after one of them.
    "common::const_deduplication",
    # Makes a nameless bias of a linear layer's own and of a token type's row that is added to it.
    "common::fuse_linear_bias",
    # Turns the other layout's norms into batch norms, whose epsilon of 1e-5 scales them.
    "common::fuse_elementwise_to_batchnorm",
}


def float_package(job: Job) -> Path:
    """The reference without anything compressed, and without the job's metadata.

    Args:
        job: its options decide; its recipe plays no part.

    Returns:
        A .mlpackage folder in the job's scratch; the same job gives the same bytes.

    Raises:
        UserError: options that do not go together, a weight or an activation that float16 cannot
            hold, or a model that Core ML cannot express.
    """
    options, task = options_of(job), job.source.task

    def convert(reference: Reference, destination: Path) -> None:
        of_it = replace(job, source=replace(job.source, reference=reference))
        with contained() as folder:
            save_package(_convert(of_it, options, folder), destination)

    def check(package: Path) -> None:
        if options.compute_precision == "float16":
            check_range(package, job)

    further = {}
    if options.outputs == "classifier":
        further = {"labels": canonical_json(list(task.labels)), "activation": task.activation}
    return float_conversion(job, convert, suffix=".mlpackage", further=further, check=check)


def _convert(job: Job, options: Options, folder: Path) -> Any:
    """Core ML's model object, whose files are in `folder`."""
    # Imported here, since that alone prints.
    import coremltools as ct

    try:
        module = module_for(job.source.reference, options, job.source.task.activation)
        if options.compute_precision == "float16":
            _round_to_float16(module)
        passes = ct.PassPipeline()
        passes.remove_passes(_LEFT_OUT)
        classifier = options.outputs == "classifier"
        package = {"package_dir": str(folder / "converted.mlpackage"), "skip_model_load": True}
        target = getattr(ct.target, options.deployment_target)
        converted = ct.convert(
            _traced(module, options.lengths[-1], job.source.reference.vocab_size),
            inputs=_inputs(ct, options),
            outputs=_outputs(ct, options, job.source.reference.output),
            convert_to="milinternal" if classifier else "mlprogram",
            minimum_deployment_target=target,
            compute_precision=_precision(ct, options),
            pass_pipeline=passes,
            **({} if classifier else package),
        )
        if not classifier:
            return converted
        # In one step coremltools trips over a classifier that has a further output.
        converted.functions["main"].set_output_types(None)
        model = ct.convert(
            converted,
            classifier_config=_classifier(ct, job),
            convert_to="mlprogram",
            minimum_deployment_target=target,
            pass_pipeline=ct.PassPipeline.EMPTY,
            **package,
        )
        # What it says itself where the step is one.
        model.user_defined_metadata["com.github.apple.coremltools.source"] = (
            f"torch=={torch.__version__}"
        )
        return model
    except UserError:
        raise
    except Exception as error:
        # The converter raises whatever its passes raise; the cause stays chained.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError("Core ML cannot express this model", why=reason[0]) from error


def _round_to_float16(module: torch.nn.Module) -> None:
    """Round the parameters to the values that float16 has.

    The converter would round them as well, except for short vectors, in which it moves what
    underflows to the smallest number above zero.

    Raises:
        UserError: a parameter is out of float16's range.
    """
    for place, part in module.named_modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            rounded = parameter.to(torch.float16).to(torch.float32)
            if not bool(torch.isfinite(rounded).all()):
                raise UserError(
                    f"{place.removeprefix('model.')}.{name} has values that float16 cannot hold",
                    why=f"the largest is {float(parameter.abs().max()):.3g}, the limit 65504",
                    todo="choose the compute precision float32",
                )
            # A new parameter: the old one is the reference's.
            setattr(part, name, torch.nn.Parameter(rounded, requires_grad=False))


def _traced(module: torch.nn.Module, length: int, vocab_size: int) -> Any:
    # Two tensors: one for both would become one input.
    ids = torch.from_numpy((np.arange(length, dtype=np.int32) % vocab_size)[None])
    trace: Any = torch.jit.trace
    with torch.no_grad():
        return trace(module, (ids, torch.ones((1, length), dtype=torch.int32)))


def _precision(ct: Any, options: Options) -> Any:
    if options.compute_precision == "float32":
        return ct.precision.FLOAT32
    return ct.transform.FP16ComputePrecision(op_selector=lambda op: not _needs_float32(op))


def _needs_float32(op: Any) -> bool:
    """Whether an operation makes angles or takes their sine: float16 has no large angles."""
    users = [user for output in op.outputs for user in output.child_ops]
    return op.op_type in _ANGULAR or (
        bool(users) and all(user.op_type in _ANGULAR for user in users)
    )


def _inputs(ct: Any, options: Options) -> list[Any]:
    longest = options.lengths[-1]
    shape: Any = (1, longest)
    if options.shapes == "range":
        shape = ct.Shape((1, ct.RangeDim(1, longest, default=longest)))
    elif not options.fixed:
        shape = ct.EnumeratedShapes([[1, n] for n in options.lengths], default=[1, longest])
    return [ct.TensorType(name, shape, np.int32) for name in INPUTS]


def _outputs(ct: Any, options: Options, output: str) -> list[Any]:
    names = ([_PROBABILITIES] if options.outputs == "classifier" else []) + [output]
    # float32 whatever the arithmetic: apps need not know about float16.
    return [ct.TensorType(name, dtype=np.float32) for name in names]


def _classifier(ct: Any, job: Job) -> Any:
    labels = job.source.task.labels
    for label in labels:
        if not label.isprintable() or any("\ud800" <= c <= "\udfff" for c in label):
            raise UserError(
                f"Core ML cannot carry the label {label!r}",
                why="it has characters that are no text",
                todo="rename it, or choose the outputs logits",
            )
    return ct.ClassifierConfig(
        list(labels),
        predicted_feature_name=LABEL,
        predicted_probabilities_output=_PROBABILITIES,
    )
