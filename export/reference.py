"""The truth that artifacts are judged by: PyTorch float32 logits with a fixed signature."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.families import Family, family_of_model
from export.threads import one_thread
from runtime.side_by_side import Running, run_side_by_side

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from export.embedding_reference import VectorsOnly

# Of a family without a table of positions; no checkpoint was trained with longer sequences.
_LONGEST = 512
# Ids in a batch: a product with more rows is hardly faster a row.
_IDS_TOGETHER = 256


class LogitsOnly(torch.nn.Module):
    """A classifier reduced to (input_ids, attention_mask) → logits.

    What else the family's forward needs, such as token types, is made from these two.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.family = family_of_model(model)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            input_ids: int32 [batch, length].
            attention_mask: int32 [batch, length], 1 for a token, 0 for padding, which is on the
                family's side.

        Returns:
            float32 [batch, labels].
        """
        return self.family.logits(self.model, input_ids, attention_mask)

    def around(self, model: PreTrainedModel) -> LogitsOnly:
        """The same of another model."""
        module = LogitsOnly(model)
        module.family = self.family
        return module


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference module and the facts that a target needs.

    Attributes:
        module: in eval mode, float32, on the CPU, gradients off.
        labels: number of logits, or of a vector's numbers.
        vocab_size: ids run from 0 to vocab_size - 1.
        max_positions: longest sequence that the model has positions for.
        output: what the artifacts call their output: ``logits`` or ``embedding``.
    """

    module: LogitsOnly | VectorsOnly
    labels: int
    vocab_size: int
    max_positions: int
    output: str = "logits"

    @property
    def family(self) -> Family:
        """What the model is one of."""
        return self.module.family

    def around(self, model: Any) -> Reference:
        """The same reference of a model with other weights."""
        return frozen(self.module.around(model), width=self.labels, output=self.output)


def reference_from_model(model: PreTrainedModel) -> Reference:
    """Freeze a fine-tuned classifier as the reference."""
    return frozen(LogitsOnly(model), width=model.config.num_labels)


def frozen(module: LogitsOnly | VectorsOnly, *, width: int, output: str = "logits") -> Reference:
    """A module as the reference: see `Reference` for what it must offer and what it becomes."""
    module.eval().to(torch.float32).requires_grad_(requires_grad=False)
    config: Any = module.model.config
    return Reference(
        module=module,
        labels=width,
        vocab_size=config.vocab_size,
        max_positions=module.family.longest(config) or _LONGEST,
        output=output,
    )


def reference_logits(
    reference: Reference,
    sequences: Sequence[Sequence[int]],
    *,
    together: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits of every sequence, one at a time and without padding.

    One at a time because padding and batching may move the last bit; the truth should not. On one
    thread each, for the same reason, and several side by side.

    Args:
        reference: what `reference_from_model` returned.
        sequences: ids with special tokens, each of 1 to max_positions ids.
        together: run those of equal length in batches, in less than half the time, where a last
            bit does not matter.
        progress: called with (done, total) after each run, from several threads in turns.

    Returns:
        float32 [sequences, labels].
    """
    done = 0
    logits = np.empty((len(sequences), reference.labels), dtype=np.float32)

    def run(rows: Sequence[int], running: Running) -> None:
        nonlocal done
        input_ids = torch.tensor([list(sequences[row]) for row in rows], dtype=torch.int32)
        with torch.inference_mode():  # a thread's own
            logits[rows] = reference.module(input_ids, torch.ones_like(input_ids)).numpy()
        with running.lock:
            done += len(rows)
            if progress is not None:
                progress(done, len(sequences))

    batches = _batches(sequences) if together else [[row] for row in range(len(sequences))]
    with one_thread():
        run_side_by_side(batches, run)
    return logits


def _batches(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows of equal lengths, the longest first: none is left for one thread at the end."""
    lengths = [len(ids) for ids in sequences]
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches = []
    for length, equal in itertools.groupby(order, key=lengths.__getitem__):
        rows, count = list(equal), max(1, _IDS_TOGETHER // length)
        batches += [rows[start : start + count] for start in range(0, len(rows), count)]
    return batches
