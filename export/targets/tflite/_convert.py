"""PyTorch → float32 TFLite."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.targets.base import check_lengths
from export.targets.tflite._flatbuffer import load
from export.targets.tflite._names import rename
from export.targets.tflite._op_versions import stamp
from export.targets.tflite._packing import packed
from export.targets.tflite._positions import Parameters, share_positions
from export.targets.tflite._quiet import quiet
from runtime.errors import UserError
from runtime.files import write_atomically

if TYPE_CHECKING:
    from export.reference import Reference


class _NamedOutput(torch.nn.Module):
    """The reference with its output in a dictionary, whose keys become output names."""

    def __init__(self, reference: torch.nn.Module) -> None:
        super().__init__()
        self.reference = reference

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"logits": self.reference(input_ids, attention_mask)}


def tflite_from_reference(
    reference: Reference, lengths: tuple[int, ...], destination: Path
) -> None:
    """See `export.targets.tflite.convert`."""
    check_lengths(lengths, reference.max_positions)
    parameters = _parameters_of(reference)
    with tempfile.TemporaryDirectory(prefix="tflite_") as folder:
        raw = Path(folder) / "raw.tflite"
        _run_converter(reference, lengths, raw)
        model = load(raw)
    share_positions(model, parameters)
    rename(model, parameters, root="reference.model.")
    stamp(model)
    write_atomically(destination, bytes(packed(model)))


def _parameters_of(reference: Reference) -> Parameters:
    return {
        name: value.detach().numpy()
        for name, value in reference.module.model.state_dict().items()
        if value.dtype == torch.float32
    }


def _run_converter(reference: Reference, lengths: tuple[int, ...], destination: Path) -> None:
    with quiet():
        # Imported here, since that alone prints.
        import litert_torch

        module = _NamedOutput(reference.module).eval()
        # lightweight_conversion stays off: it stores the weights once per signature.
        converter: Any = litert_torch.Converter()
        for length in lengths:
            converter.add_signature(
                f"seq_{length}", module, sample_kwargs=_sample(length, reference.vocab_size)
            )
        try:
            converter.convert().export(str(destination))
        except Exception as error:
            # The converter raises whatever its passes raise; the cause stays chained.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError("TFLite cannot express this model", why=reason[0]) from error


def _sample(length: int, vocab_size: int) -> dict[str, torch.Tensor]:
    """Inputs to trace with: two tensor objects, since one for both would become one input."""
    ids = torch.from_numpy((np.arange(length, dtype=np.int32) % vocab_size)[None])
    return {"input_ids": ids, "attention_mask": torch.ones((1, length), dtype=torch.int32)}
