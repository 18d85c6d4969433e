"""PyTorch → float32 TFLite."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from export.families.plain import plain_of
from export.targets.base import check_lengths
from export.targets.tflite._flatbuffer import load
from export.targets.tflite._names import Matcher, rename
from export.targets.tflite._op_versions import stamp
from export.targets.tflite._packing import packed
from export.targets.tflite._positions import share_tables
from export.targets.tflite._quiet import quiet
from export.targets.tflite._unfolding import unfold
from runtime.errors import UserError
from runtime.files import write_atomically

if TYPE_CHECKING:
    from export.reference import Reference


class _NamedOutput(torch.nn.Module):
    """The reference with its output in a dictionary, whose keys become output names."""

    def __init__(self, reference: torch.nn.Module, output: str) -> None:
        super().__init__()
        self.reference = reference
        self.output = output

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {self.output: self.reference(input_ids, attention_mask)}


def tflite_from_reference(
    reference: Reference, lengths: tuple[int, ...], destination: Path, *, as_they_are: bool = False
) -> None:
    """See `export.targets.tflite.convert`."""
    check_lengths(lengths, reference.max_positions)
    plain = plain_of(reference, one_position=True)
    with tempfile.TemporaryDirectory(prefix="tflite_") as folder:
        raw = Path(folder) / "raw.tflite"
        _run_converter(_NamedOutput(plain.module, reference.output), lengths, raw)
        model = load(raw)
    share_tables(model, plain.parameters)
    matcher = Matcher(model, plain.parameters)
    unfold(model, matcher, everything=as_they_are)
    rename(model, matcher, root=f"reference.{plain.root}")
    stamp(model)
    write_atomically(destination, bytes(packed(model)))


def _run_converter(module: torch.nn.Module, lengths: tuple[int, ...], destination: Path) -> None:
    with quiet():
        # Imported here, since that alone prints.
        import litert_torch

        # lightweight_conversion stays off: it stores the weights once per signature.
        converter: Any = litert_torch.Converter()
        for length in lengths:
            converter.add_signature(f"seq_{length}", module.eval(), sample_kwargs=_sample(length))
        try:
            converter.convert().export(str(destination))
        except Exception as error:
            # The converter raises whatever its passes raise; the cause stays chained.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError("TFLite cannot express this model", why=reason[0]) from error


def _sample(length: int) -> dict[str, torch.Tensor]:
    """Inputs to trace with: two tensor objects, since one for both would become one input."""
    shape = (1, length)
    ids, mask = torch.zeros(shape, dtype=torch.int32), torch.ones(shape, dtype=torch.int32)
    return {"input_ids": ids, "attention_mask": mask}
