"""Examples → tensors, padded a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from export.data.task import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Features(torch.utils.data.Dataset[dict[str, Any]]):
    """Ids of every example, made once; targets as the loss wants them."""

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
        self._examples = examples
        self._labels = labels
        self._multi_label = multi_label

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        chosen = self._examples[index].labels
        if not self._multi_label:
            return {"input_ids": self._ids[index], "labels": chosen[0]}
        targets = [0.0] * self._labels
        for label in chosen:
            targets[label] = 1.0
        return {"input_ids": self._ids[index], "labels": targets}


class PadToLongest:
    """Collates a batch: right padding to its longest sequence."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows of `Features` → input_ids and attention_mask [batch, longest], labels."""
        longest = max(len(row["input_ids"]) for row in rows)
        input_ids = torch.full((len(rows), longest), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            n = len(row["input_ids"])
            input_ids[i, :n] = torch.tensor(row["input_ids"])
            mask[i, :n] = 1
        labels = torch.tensor([row["labels"] for row in rows])
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
