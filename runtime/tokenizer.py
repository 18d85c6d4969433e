"""Text → ids, the Python twin of what the app does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from runtime.errors import BundleError
from runtime.manifest import PadSide, TokenizerSpec

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextTokenizer:
    """A bundle's tokenizer: special tokens added, cut at max_length, not padded."""

    def __init__(self, path: Path, spec: TokenizerSpec) -> None:
        """Load a `tokenizers` file.

        Args:
            path: the file that `spec.file` names, resolved.
            spec: the manifest's tokenizer.

        Raises:
            BundleError: the file cannot be read or contradicts the manifest.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(
                f"{path} is not a tokenizer file", why=str(error), todo="export the bundle again"
            ) from error
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if size != spec.vocab_size:
            raise BundleError(
                f"{path} has {size} tokens", why=f"the manifest says {spec.vocab_size}"
            )
        self._spec = spec
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=spec.max_length)

    def ids(self, text: str) -> list[int]:
        """Ids of one text with its special tokens, at most max_length of them.

        Any string is accepted: lone surrogates, which UTF-8 cannot carry, become the manifest's
        replacement first.
        """
        return self.encode(text)[0]

    def sha256(self) -> str:
        """Of all that the ids of a text depend on."""
        text = self._tokenizer.to_str() + repr(self._spec)
        return hashlib.sha256(text.encode()).hexdigest()

    def encode(self, text: str) -> tuple[list[int], bool]:
        """Ids as `ids` gives them, and whether the text was cut to fit."""
        clean = _SURROGATE.sub(self._spec.lone_surrogates, text)
        encoding = self._tokenizer.encode(clean)
        return encoding.ids, bool(encoding.overflowing)

    def vocabulary(self) -> list[str]:
        """Every token in the order of ids."""
        return self.tokens(range(self._spec.vocab_size))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens behind ids."""
        return [self._tokenizer.id_to_token(i) or "?" for i in ids]


def batch_of(
    sequences: Sequence[Sequence[int]], pad_id: int, pad_side: PadSide = "right"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Pad sequences on one side to the longest of them.

    Returns:
        input_ids and attention_mask, both int32 [sequences, longest].
    """
    longest = max(len(ids) for ids in sequences)
    input_ids = np.full((len(sequences), longest), pad_id, dtype=np.int32)
    attention_mask = np.zeros((len(sequences), longest), dtype=np.int32)
    for row, ids in enumerate(sequences):
        start = 0 if pad_side == "right" else longest - len(ids)
        input_ids[row, start : start + len(ids)] = ids
        attention_mask[row, start : start + len(ids)] = 1
    return input_ids, attention_mask
