"""Dynamic masking: which tokens are hidden in which epoch.

transformers' ``DataCollatorForLanguageModeling`` hides them (15 %; of these 80 % become the mask
token, 10 % another token, 10 % stay: BERT, arXiv 1810.04805, section 3.1). It draws from one
generator that runs on, so a run that is resumed would draw anew; here the draw is seeded by seed,
epoch and row. New masks every epoch (RoBERTa, arXiv 1907.11692, section 4.1), and the same masks
whether a run was interrupted, split over processes or batched otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from export.training.features import IGNORED
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASKED_SHARE = 0.15
_MASK_TOKENS = ("[MASK]", "<mask>")
# Validation is masked as if it were an epoch of its own, always the same one.
VALIDATION_EPOCH = -1


class MaskedTexts(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Texts as ids, some of them hidden; what is hidden depends on `epoch`.

    Attributes:
        epoch: the caller counts it up; `VALIDATION_EPOCH` for a fixed mask.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Tokenizer,
        *,
        max_length: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        """Cut the texts.

        Args:
            texts: any number.
            tokenizer: its truncation is set to `max_length`.
            max_length: in ids, special tokens included.
            seed: of all masks.
            epoch: the first one.

        Raises:
            UserError: the tokenizer has no mask token.
        """
        mask_token = mask_token_of(tokenizer)
        self.epoch = epoch
        self._seed = seed
        self._collator = _collator(tokenizer, mask_token)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=max_length)
        encodings = tokenizer.encode_batch(list(texts))
        self._ids = [torch.tensor(encoding.ids) for encoding in encodings]
        self._special = [
            torch.tensor(encoding.special_tokens_mask, dtype=torch.bool) for encoding in encodings
        ]

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def lengths(self) -> list[int]:
        """Ids of each text."""
        return [len(ids) for ids in self._ids]

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        """One row: ``input_ids`` with tokens hidden, ``labels`` with `IGNORED` where none is.

        An index of n + i gives text i of n with nothing hidden, see `EpochBatches`.
        """
        if index >= len(self):
            ids = self._ids[index % len(self)].tolist()
            return {"input_ids": ids, "labels": [IGNORED] * len(ids)}
        key = hashlib.sha256(f"{self._seed}/{self.epoch}/{index}".encode()).digest()
        self._collator.generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
        ids, labels = self._collator.torch_mask_tokens(
            self._ids[index][None].clone(), special_tokens_mask=self._special[index][None]
        )
        return {"input_ids": ids[0].tolist(), "labels": labels[0].tolist()}


def mask_token_of(tokenizer: Tokenizer) -> str:
    """``[MASK]`` as in BERT and ALBERT, or ``<mask>`` as in RoBERTa.

    Raises:
        UserError: it has neither.
    """
    for token in _MASK_TOKENS:
        if tokenizer.token_to_id(token) is not None:
            return token
    raise UserError(
        f"the tokenizer has neither {' nor '.join(_MASK_TOKENS)}",
        why="masked language modelling hides words behind such a token",
        todo="distil for a task instead: --kind task",
    )


def _collator(tokenizer: Tokenizer, mask_token: str) -> Any:
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token=mask_token)
    return DataCollatorForLanguageModeling(wrapped, mlm_probability=MASKED_SHARE)


class PadMasked:
    """Collates rows of `MaskedTexts`: ids as `pad` does it, labels padded with `IGNORED`."""

    def __init__(self, pad: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]) -> None:
        """Set up with what pads ``input_ids`` and makes ``attention_mask``."""
        self._pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows → input_ids, attention_mask and labels, int64 [batch, longest]."""
        batch = self._pad([{"input_ids": row["input_ids"]} for row in rows])
        labels = torch.full_like(batch["input_ids"], IGNORED)
        # Wherever the padding is, the tokens of a row are in order.
        values = torch.tensor([label for row in rows for label in row["labels"]])
        labels[batch["attention_mask"].bool()] = values
        return batch | {"labels": labels}
