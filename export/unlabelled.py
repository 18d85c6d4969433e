"""Further natural texts for the reference set: they need no labels to show a flip.

Texts that the model was trained on are left out where they can be told: it is surer of those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from runtime.errors import UserError

# With fewer validation texts than this, texts of the test split fill up, never their labels.
NATURAL_TEXTS = 600


def choose_by_hash(texts: Sequence[str], limit: int) -> list[int]:
    """Ascending indices of at most `limit` texts, those with the smallest SHA-256.

    The choice depends on the texts alone, so adding a row does not reshuffle the rest.
    """
    if len(texts) <= limit:
        return list(range(len(texts)))
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    return sorted(sorted(range(len(texts)), key=digests.__getitem__)[: max(0, limit)])


def read_texts(path: Path) -> tuple[str, ...]:
    """A user's own texts: UTF-8, one a line; blank and repeated lines are dropped.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or holds no text.
    """
    texts: dict[str, None] = {}
    number = 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                # A byte order mark may start the file; only real line ends end a text.
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    texts[text] = None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}, is not UTF-8", why=error.reason, todo="save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"the texts in {path} cannot be read", why=why) from error
    if not texts:
        raise UserError(f"there is no text in {path}", todo="write one text a line, UTF-8")
    return tuple(texts)


def choose_unlabelled(
    validation: Collection[str],
    train: Collection[str],
    test: Sequence[str],
    own: Sequence[str],
    limit: int,
) -> tuple[str, ...]:
    """Texts to add to the validation texts.

    Args:
        validation: texts already chosen.
        train: texts that the model may have learned from.
        test: fills up to `NATURAL_TEXTS` natural texts in all, or to `limit` if that is less.
        own: the user's, at most `limit` of them.
        limit: most texts of one origin.

    Returns:
        The user's texts, then texts of the test split; each once, none of `validation` or `train`.
    """
    refused = {*validation, *train}
    mine = [text for text in dict.fromkeys(own) if text not in refused]
    chosen = [mine[i] for i in choose_by_hash(mine, limit)]
    refused.update(chosen)
    more = [text for text in dict.fromkeys(test) if text not in refused]
    room = min(NATURAL_TEXTS, limit) - len(validation) - len(chosen)
    return (*chosen, *(more[i] for i in choose_by_hash(more, max(0, room))))
