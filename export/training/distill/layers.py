"""Which of the teacher's layers the student starts with."""

from __future__ import annotations

from runtime.errors import UserError


def spread_layers(teacher: int, student: int | None = None) -> tuple[int, ...]:
    """Layers at even distances, the first and the last among them.

    Rounding ``i (n - 1) / (k - 1)`` gives 0, 2, 4, 7, 9, 11 for 12 → 6: the very layers of
    DistilBERT's own extraction script (``scripts/extract_distilbert.py`` of transformers' research
    project ``distillation``; the paper, arXiv 1910.01108, says "one layer out of two").

    Args:
        teacher: number of its layers, at least 1.
        student: how many of them; half of them if absent.

    Returns:
        Ascending indices from 0.

    Raises:
        UserError: fewer than one layer, or more than the teacher has.
    """
    wanted = max(1, teacher // 2) if student is None else student
    if not 1 <= wanted <= teacher:
        raise UserError(
            f"a student of {wanted} layers cannot be taken from a teacher of {teacher}",
            todo=f"choose 1 to {teacher} layers",
        )
    if wanted == 1:
        return (0,)
    step = (teacher - 1) / (wanted - 1)
    return tuple(int(i * step + 0.5) for i in range(wanted))


def check_layers(layers: tuple[int, ...], teacher: int) -> tuple[int, ...]:
    """A user's own choice, ascending and without repetition.

    Raises:
        UserError: an index that the teacher does not have, or indices out of order.
    """
    if not layers or sorted(set(layers)) != list(layers):
        raise UserError(
            f"the layers {', '.join(map(str, layers)) or '(none)'} are not in ascending order",
            why="a student keeps the order of its teacher's layers",
            todo="name each layer once, from 0, such as --layers 0,2,4",
        )
    if layers[0] < 0 or layers[-1] >= teacher:
        wrong = layers[0] if layers[0] < 0 else layers[-1]
        raise UserError(
            f"the teacher has no layer {wrong}",
            why=f"its layers are numbered 0 to {teacher - 1}",
            todo="choose among these: --layers 0,2,4",
        )
    return layers
