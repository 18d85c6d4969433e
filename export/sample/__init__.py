"""The embedded sample: small tasks, written for this project; two of them need word order.

Nothing is quoted from anywhere: phrase banks (``*.toml``) and a seeded grammar make the texts. A
topic or an adjective that occurs in a text says little about its labels on its own; negation,
contrast and mere mention decide. So a bag of words falls short and a small transformer does not.
The third, `export.sample.topic`, is for models that are slow to train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from export.sample import sentiment, support, topic
from export.sample.grammar import Draft, Draw, bank
from export.sample.splits import distribute

TASKS: tuple[str, ...] = ("sentiment", "support", "topic")

_SIZES = {"train": 4000, "validation": 600, "test": 600}
# Part of the texts' identity: another seed is another sample.
_SEED = "mobile-export/1"


@dataclass(frozen=True, slots=True)
class SampleText:
    """One labelled text.

    Attributes:
        labels: exactly one in a single-label task; none, one or more in a multi-label task, in the
            task's order.
        split: ``train``, ``validation`` or ``test``.
        phenomenon: what makes the text easy or hard: ``plain``, ``negation``, ``contrast``, …
    """

    text: str
    labels: tuple[str, ...]
    split: str
    phenomenon: str


def labels(task: str) -> tuple[str, ...]:
    """Label names of a task, in order.

    Raises:
        ValueError: no such task.
    """
    return topic.topics() if _known(task) == "topic" else tuple(bank(task)["labels"])


def is_multi_label(task: str) -> bool:
    """Whether a text of the task may have several labels or none.

    Raises:
        ValueError: no such task.
    """
    return _known(task) == "support"


@cache
def texts(task: str) -> tuple[SampleText, ...]:
    """All texts of a task, the same ones every time.

    Raises:
        ValueError: no such task.
    """
    shares: dict[str, float]
    make: Callable[[Draw, str], Draft]
    if is_multi_label(task):
        shares = bank(f"{task}_frames")["counts"]
        make = _support
    else:
        shares = dict.fromkeys(labels(task), 1.0)
        make = topic.draft if task == "topic" else sentiment.draft
    total = sum(shares.values())
    sizes = {
        split: {kind: round(size * share / total) for kind, share in shares.items()}
        for split, size in _SIZES.items()
    }
    return tuple(
        SampleText(made.text, made.labels, split, made.frame.phenomenon)
        for split, made in distribute(f"{_SEED}/{task}", sizes, make)
    )


def _support(draw: Draw, kind: str) -> Draft:
    return support.draft(draw, int(kind))


def _known(task: str) -> str:
    if task not in TASKS:
        raise ValueError(f"no sample task {task!r}; the tasks are {', '.join(TASKS)}")
    return task
