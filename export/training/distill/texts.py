"""Which texts a general distillation learns from, and which ones judge it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from export.data.duplicates import text_key
from export.data.task import TextDataset
from export.unlabelled import choose_by_hash
from runtime.errors import UserError

# Held out of texts that come without a validation split: one in twenty, and no more than this.
_HELD_OUT_SHARE, _MOST_HELD_OUT = 20, 1000
_FEWEST = 20


def general_texts(
    dataset: TextDataset | None, own: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts to learn from, and others to judge by; each once, none in both.

    Args:
        dataset: its training and validation split; labels play no part. The test split stays
            unseen, so that what is fine-tuned later can be judged on it.
        own: further texts to learn from. Without a dataset some of them are held out, chosen by
            their hash.

    Raises:
        UserError: too few texts.
    """
    if dataset is not None:
        held_out = _once(row.text for row in dataset.splits["validation"])
        judges = (*dataset.splits["validation"], *dataset.splits["test"])
        taboo = {text_key(row.text) for row in judges}
        learned = [row.text for row in dataset.splits["train"]] + list(own)
    else:
        learned = list(_once(own))
        wanted = min(_MOST_HELD_OUT, max(1, len(learned) // _HELD_OUT_SHARE))
        held_out = tuple(learned[i] for i in choose_by_hash(learned, wanted))
        taboo = {text_key(text) for text in held_out}
    left = tuple(text for text in _once(learned) if text_key(text) not in taboo)
    if len(left) < _FEWEST:
        raise UserError(
            f"{len(left)} texts are too few to learn language from",
            todo=f"give at least {_FEWEST}, better tens of thousands: --texts FILE",
        )
    return left, held_out


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple({text_key(text): text for text in texts}.values())
