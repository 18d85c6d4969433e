"""The parameters as a package's arithmetic uses them.

Stored weights are compared with the originals as they are stored; what is returned is what PyTorch
needs in order to compute the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.targets.base import Effective, Job
from export.targets.coreml._module import module_for
from export.targets.coreml._names import parameters_by_constant
from export.targets.coreml._options import Options, options_of
from export.targets.coreml._parameters import (
    as_stored,
    neutral,
    stored_parameters,
    whole_parameters,
)
from export.targets.coreml._stored_weights import check_stored_weights
from export.targets.parameters import Floats, add_twins, layer_norm_epsilon
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.weights import stored_weights

if TYPE_CHECKING:
    from export.reference import Reference

# The smallest number above zero in float16: what coremltools puts where an epsilon would be zero.
_SMALLEST_FLOAT16 = 2.0**-24
# Parameters that every attention score is proportional to, all of them together.
_QUERIES = (".q_lin.weight", ".q_lin.bias", ".query.weight", ".query.bias")
_RELATIVE_QUERIES = tuple(f".rel_attn.{n}" for n in ("q", "r_w_bias", "r_r_bias", "r_s_bias"))
# The same of the scores by distance and by segment alone.
_RELATIVE_KEYS = (".rel_attn.r", ".rel_attn.seg_embed")


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.coreml.effective`."""
    package = read_package(artifact)
    options, reference = options_of(job), job.source.reference
    parameters = stored_parameters(reference, options.lengths[-1])
    originals = parameters | _constants(job, options)
    stored = {weight.name: weight for weight in stored_weights(package, minimum=1)}
    owners = parameters_by_constant(stored, originals)
    check_stored_weights(
        package,
        {
            name: as_stored(owner, stored[name].shape, originals[owner])
            for name, owner in owners.items()
        },
        job,
    )
    tensors = {
        owner: stored[name].dense("f32").reshape(originals[owner].shape)
        for name, owner in owners.items()
        if owner in parameters
    }
    tensors |= {name: parameters[name] for name in neutral(reference) if name not in tensors}
    kind = np.float16 if options.compute_precision == "float16" else np.float32
    add_twins(tensors, parameters, kind)
    _carry_scale(tensors, reference, options)
    whole = whole_parameters(tensors, reference, options.lengths[-1])
    return Effective(whole, expressed_epsilon(reference, options))


def _constants(job: Job, options: Options) -> dict[str, Floats]:
    """Name → values of what is stored although it is no parameter, such as XLNet's frequencies."""
    reference = job.source.reference
    known = {name for name, _ in reference.module.model.named_buffers()}
    module: Any = module_for(reference, options, job.source.task.activation)
    return {
        name: value.numpy()
        for name, value in module.model.named_buffers()
        if name not in known and value.is_floating_point()
    }


def expressed_epsilon(reference: Reference, options: Options) -> float:
    """The LayerNorms' epsilon as the compute precision stores it; the package is not asked.

    Raises:
        UserError: the model's LayerNorms do not share one.
    """
    epsilon = layer_norm_epsilon(reference)
    if options.compute_precision == "float32":
        return float(np.float32(epsilon))
    return max(float(np.float16(epsilon)), _SMALLEST_FLOAT16)


def _carry_scale(tensors: dict[str, Floats], reference: Reference, options: Options) -> None:
    """Let parameters carry what float16 makes of attention's scale, unless that is exact.

    The scale is a constant of the program, not of the model, whose own is exact: for heads 32 wide
    32^-0.5 is 1.3e-4 off, which would look like a wrong graph. The fused operation has it inside;
    what XLNet adds to its scores has it outside nevertheless.
    """
    if options.compute_precision != "float16":
        return
    config: Any = reference.module.model.config
    relative = reference.family.name == "xlnet"
    carriers = _RELATIVE_QUERIES if relative else _QUERIES
    if options.fused_attention:
        carriers = _RELATIVE_KEYS if relative else ()
    width = getattr(config, "true_hidden_size", config.hidden_size) // config.num_attention_heads
    exact = float(width) ** -0.5
    ratio = np.float32(float(np.float16(exact)) / exact)
    if ratio != 1:
        for name, value in tensors.items():
            if name.endswith(carriers):
                tensors[name] = value * ratio
