"""Examples → tensors, padded a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from export.data.task import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# torch's cross-entropy and Trainer's count of targets know it by this number.
IGNORED = -100


class Features(torch.utils.data.Dataset[dict[str, Any]]):
    """Ids of every example, made once; targets as the loss wants them.

    An index of n + i gives text i of n with a target that the loss leaves out, see `EpochBatches`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        max_length: int,
        labels: int,
        multi_label: bool,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=max_length)
        encodings = tokenizer.encode_batch([example.text for example in examples])
        self._ids = [encoding.ids for encoding in encodings]
        self._targets = [
            _target(example, labels) if multi_label else example.labels[0] for example in examples
        ]
        self._ignored = [float(IGNORED)] * labels if multi_label else IGNORED

    @property
    def lengths(self) -> list[int]:
        """Ids of each text, special tokens included."""
        return [len(ids) for ids in self._ids]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        text = index % len(self)
        target = self._targets[text] if text == index else self._ignored
        return {"input_ids": self._ids[text], "labels": target}


def _target(example: Example, labels: int) -> list[float]:
    """0 or 1 for every label."""
    target = [0.0] * labels
    for label in example.labels:
        target[label] = 1.0
    return target


class PadToLongest:
    """Collates a batch: padding to its longest sequence."""

    def __init__(
        self,
        pad_id: int,
        side: Literal["left", "right"] = "right",
        extra: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]] | None = None,
    ) -> None:
        """Set up for a model.

        Args:
            pad_id: of the padding token.
            side: where the model wants it.
            extra: (input_ids, attention_mask) → further inputs that the model wants.
        """
        self._pad_id = pad_id
        self._side = side
        self._extra = extra

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows of `Features` → input_ids, attention_mask [batch, longest], and all other keys."""
        longest = max(len(row["input_ids"]) for row in rows)
        input_ids = torch.full((len(rows), longest), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            n = len(row["input_ids"])
            place = slice(longest - n, longest) if self._side == "left" else slice(0, n)
            input_ids[i, place] = torch.tensor(row["input_ids"], dtype=torch.long)
            mask[i, place] = 1
        batch = {"input_ids": input_ids, "attention_mask": mask}
        if self._extra is not None:
            batch |= self._extra(input_ids, mask)
        others = [key for key in rows[0] if key != "input_ids"]
        return batch | {key: torch.tensor([row[key] for row in rows]) for key in others}
