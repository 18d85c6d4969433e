"""The truth that artifacts are judged by: PyTorch float32 logits with a fixed signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What is added to the attention scores of padding. exp(-1e4) is 0 in float32, so the result equals
# -inf's, and unlike -inf it survives float16 and int8 without NaN.
MASKED_SCORE = -1e4


class LogitsOnly(torch.nn.Module):
    """A classifier reduced to (input_ids, attention_mask) → logits.

    The mask is made 4-D here and handed to transformers as it is. transformers' own mask code
    becomes boolean 5-D gathers, which old mobile runtimes refuse.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            input_ids: int32 [batch, length].
            attention_mask: int32 [batch, length], 1 for a token, 0 for padding.

        Returns:
            float32 [batch, labels].
        """
        scores = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED_SCORE
        logits: torch.Tensor = self.model(
            input_ids=input_ids, attention_mask=scores, return_dict=False
        )[0]
        return logits


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference module and the facts that a target needs.

    Attributes:
        module: in eval mode, float32, on the CPU, gradients off.
        labels: number of logits.
        vocab_size: ids run from 0 to vocab_size - 1.
        max_positions: longest sequence that the model has positions for.
    """

    module: LogitsOnly
    labels: int
    vocab_size: int
    max_positions: int


def reference_from_model(model: PreTrainedModel) -> Reference:
    """Freeze a fine-tuned classifier as the reference."""
    module = LogitsOnly(model).eval().to(torch.float32)
    module.requires_grad_(requires_grad=False)
    config: Any = model.config
    return Reference(
        module=module,
        labels=config.num_labels,
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings,
    )


def reference_logits(
    reference: Reference,
    sequences: Sequence[Sequence[int]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits of every sequence, one at a time and without padding.

    One at a time because padding and batching may move the last bit; the truth should not.

    Args:
        reference: what `reference_from_model` returned.
        sequences: ids with special tokens, each of 1 to max_positions ids.
        progress: called with (done, total) after each.

    Returns:
        float32 [sequences, labels].
    """
    out = np.empty((len(sequences), reference.labels), dtype=np.float32)
    with torch.inference_mode():
        for row, ids in enumerate(sequences):
            input_ids = torch.tensor([list(ids)], dtype=torch.int32)
            logits = reference.module(input_ids, torch.ones_like(input_ids))
            out[row] = logits[0].numpy()
            if progress is not None:
                progress(row + 1, len(sequences))
    return out
