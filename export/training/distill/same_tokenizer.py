"""Teacher and student must cut texts into the same ids, or their outputs cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Equal vocabularies can still be applied differently (upper case, accents); so many texts show it.
_PROBE_TEXTS = 200


def require_same_tokenizer(
    teacher: Tokenizer, student: Tokenizer, texts: Sequence[str] = ()
) -> None:
    """Compare the vocabularies token by token, then the ids of some texts.

    Args:
        teacher: the one that the student must have.
        student: the one that it has.
        texts: of the data; the first `_PROBE_TEXTS` are cut by both.

    Raises:
        UserError: a token or a text that they disagree on.
    """
    difference = _first_difference(
        teacher.get_vocab(with_added_tokens=True), student.get_vocab(with_added_tokens=True)
    )
    if difference:
        raise UserError(
            "teacher and student have different tokenizers",
            why=difference,
            todo="take a student with the teacher's tokenizer, such as --student from-teacher",
        )
    for text in texts[:_PROBE_TEXTS]:
        ids, other = teacher.encode(text).ids, student.encode(text).ids
        if ids != other:
            at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), -1)
            raise UserError(
                "teacher and student have the same tokens but cut texts differently",
                why=f"{text[:60]!r} becomes {_tokens(teacher, ids, at)} for the teacher and "
                f"{_tokens(student, other, at)} for the student",
                todo="take a student with the teacher's tokenizer, such as --student from-teacher",
            )


def _first_difference(teacher: dict[str, int], student: dict[str, int]) -> str:
    """The token of the lowest id that the vocabularies disagree on, in words; empty if none."""
    if teacher == student:
        return ""
    tokens = sorted({*teacher, *student}, key=lambda t: (teacher.get(t, len(teacher)), t))
    token = next(t for t in tokens if teacher.get(t) != student.get(t))
    told = [
        f"{who} gives it id {vocab[token]}" if token in vocab else f"{who} does not know it"
        for who, vocab in (("the teacher", teacher), ("the student", student))
    ]
    return (
        f"the first token that differs is {token!r}: {told[0]}, {told[1]} "
        f"({len(teacher)} and {len(student)} tokens in all)"
    )


def _tokens(tokenizer: Tokenizer, ids: list[int], at: int) -> str:
    """A few tokens around a position."""
    if at < 0:
        return f"{len(ids)} tokens"
    return " ".join(str(tokenizer.id_to_token(i)) for i in ids[max(0, at - 1) : at + 3])
