"""The parameters as a package's arithmetic uses them.

Stored weights are compared with the originals as they are stored; what is returned is what PyTorch
needs in order to compute the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.targets.base import Effective, Job
from export.targets.coreml._names import parameters_by_constant
from export.targets.coreml._options import Options, options_of
from export.targets.coreml._stored_weights import check_stored_weights
from export.targets.parameters import (
    Floats,
    add_twins,
    layer_norm_epsilon,
    original_parameters,
)
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.weights import StoredWeight, stored_weights
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import Reference

_POSITIONS = "distilbert.embeddings.position_embeddings.weight"
# The smallest number above zero in float16: what coremltools puts where an epsilon would be zero.
_SMALLEST_FLOAT16 = 2.0**-24


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.coreml.effective`."""
    package = read_package(artifact)
    options = options_of(job)
    originals = _originals(job.source.reference, options)
    stored = {weight.name: weight for weight in stored_weights(package, minimum=1)}
    owners = parameters_by_constant(stored, originals)
    check_stored_weights(
        package,
        {
            name: originals[owner].reshape(_fitting(stored[name], owner, originals[owner]))
            for name, owner in owners.items()
        },
        job,
    )
    tensors = {
        owner: stored[name].dense("f32").reshape(originals[owner].shape)
        for name, owner in owners.items()
    }
    kind = np.float16 if options.compute_precision == "float16" else np.float32
    add_twins(tensors, originals, kind)
    _scale_queries(tensors, job.source.reference, options)
    tensors[_POSITIONS] = _with_unused_rows(tensors[_POSITIONS], job.source.reference)
    return Effective(tensors, expressed_epsilon(job.source.reference, options))


def expressed_epsilon(reference: Reference, options: Options) -> float:
    """The LayerNorms' epsilon as the compute precision stores it; the package is not asked.

    Raises:
        UserError: the model's LayerNorms do not share one.
    """
    epsilon = layer_norm_epsilon(reference)
    if options.compute_precision == "float32":
        return float(np.float32(epsilon))
    return max(float(np.float16(epsilon)), _SMALLEST_FLOAT16)


def _originals(reference: Reference, options: Options) -> dict[str, Floats]:
    """Parameter → its values, of the position embeddings only the rows a package needs."""
    originals = original_parameters(reference)
    originals[_POSITIONS] = originals[_POSITIONS][: options.lengths[-1]]
    return originals


def _fitting(weight: StoredWeight, owner: str, original: Floats) -> tuple[int, ...]:
    """The stored shape, which may have further axes of one element: a 1×1 convolution's."""
    if [n for n in weight.shape if n != 1] != [n for n in original.shape if n != 1]:
        raise UserError(
            f"the package has {owner} in the shape {list(weight.shape)}",
            why=f"the model has it in {list(original.shape)}",
        )
    return weight.shape


def _scale_queries(tensors: dict[str, Floats], reference: Reference, options: Options) -> None:
    """Let the queries carry what float16 makes of attention's scale, unless that is exact.

    The scale is a constant of the program, not of the model, whose own is exact: for heads 32 wide
    32^-0.5 is 1.3e-4 off, which would look like a wrong graph. The fused operation has it inside.
    """
    config: Any = reference.module.model.config
    exact = float(config.dim // config.n_heads) ** -0.5
    if options.compute_precision != "float16" or options.fused_attention:
        return
    ratio = np.float32(float(np.float16(exact)) / exact)
    if ratio != 1:
        for name, value in tensors.items():
            if name.endswith((".q_lin.weight", ".q_lin.bias")):
                tensors[name] = value * ratio


def _with_unused_rows(used: Floats, reference: Reference) -> Floats:
    whole: Floats = reference.module.model.state_dict()[_POSITIONS].detach().numpy().copy()
    whole[: len(used)] = used
    return whole
