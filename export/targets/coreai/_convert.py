"""PyTorch → a Core AI asset in float32."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from export.quiet import silent
from export.targets.coreai._program import module_of
from export.targets.coreai._stable_names import make_names_stable
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically
from runtime.sessions.coreai_file import METADATA, SUFFIX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from export.reference import Reference
    from export.targets.base import ArtifactMetadata, Job

_SAMPLE_LENGTH = 8
# Families whose forward the beta exports with free axes; of the others' it takes the length for
# fixed ("Constraints violated").
_FAMILIES = ("albert", "bert", "distilbert", "electra", "roberta")


def write_asset(job: Job, destination: Path) -> None:
    """See `export.targets.coreai.make`."""
    if job.recipe.quantizes or job.recipe.linear.precision != "float32":
        raise UserError(
            f"the target coreai cannot follow the recipe {job.recipe.name}",
            why="this beta is used in float32 only",
            todo="export with RECIPE=float32",
        )
    family = job.source.reference.family
    if family.name not in _FAMILIES:
        raise UserError(
            f"the target coreai is not made of {family.title} models",
            why="this beta takes the length of its sequences for fixed",
            todo="export for coreml, onnx or tflite",
        )
    if destination.suffix != SUFFIX:
        raise UserError(f"{destination.name} must end in {SUFFIX}")
    program = _convert(job.source.reference)
    make_names_stable(module_of(program), parameters_of(job.source.reference))
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".coreai_") as folder:
        made = Path(folder) / destination.name
        program.save_asset(made, metadata=_metadata(job.source.metadata))
        _settle_metadata(made / METADATA)
        if destination.is_dir():
            shutil.rmtree(destination)
        made.rename(destination)


def parameters_of(reference: Reference) -> dict[str, npt.NDArray[np.float32]]:
    """Name → values of every float tensor of the transformers model, in the model's order."""
    return {
        name: value.detach().numpy()
        for name, value in reference.module.model.state_dict().items()
        if value.dtype == torch.float32
    }


def _convert(reference: Reference) -> Any:
    """A `coreai.authoring.AIProgram` with free axes for batch and length."""
    length = min(_SAMPLE_LENGTH, reference.max_positions)
    # Two rows, since torch.export takes an axis of 1 for a fixed one.
    ids = (torch.arange(2 * length, dtype=torch.int32) % reference.vocab_size).reshape(2, length)
    axes = {
        0: torch.export.Dim("batch", min=1),
        1: torch.export.Dim("length", min=1, max=reference.max_positions),
    }
    with silent():
        # Imported here, since that alone warns.
        from coreai_torch import TorchConverter, get_decomp_table

        try:
            exported = torch.export.export(
                reference.module,
                (ids, torch.ones_like(ids)),
                dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            ).run_decompositions(get_decomp_table())
            # RELEASE leaves out stack traces, which hold absolute paths.
            converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
            converter.add_exported_program(
                exported,
                input_names=["input_ids", "attention_mask"],
                output_names=[reference.output],
            )
            return converter.to_coreai()
        except Exception as error:
            # torch and the converter raise whatever their passes raise; the cause stays chained.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError("Core AI cannot express this model", why=reason[0]) from error


def _metadata(metadata: ArtifactMetadata) -> Any:
    from coreai.runtime import AIModelAssetMetadata

    result = AIModelAssetMetadata()
    result.author = metadata.author
    result.license = metadata.license
    result.model_description = metadata.description
    for name in ("name", "version", "contract_sha256"):
        result.set_custom(name, getattr(metadata, name))
    return result


def _settle_metadata(path: Path) -> None:
    """Take the clock out, and sort the fields, whose order is another one in every process."""
    value = json.loads(path.read_bytes())
    value.pop("creationDate", None)
    write_atomically(path, canonical_json(value))
