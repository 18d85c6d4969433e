"""The bundles of a run: what each one's artifacts are fed with, and what they are judged by.

The first bundle is the one that the others are held against. A student, a model with fewer layers
or a smaller vocabulary agrees with its own reference however little it knows, so beside that every
artifact is judged by the first bundle's reference, over the texts that all bundles have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.bench.accuracy import Logits, parity_figures
from runtime.bench.flops import Architecture, architecture_of
from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.golden import NATURAL, Golden, GoldenCase, read_golden
from runtime.manifest import Manifest, TaskSpec

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Member:
    """One bundle of a run.

    Attributes:
        label: unique in the run; of several bundles it stands before the names of their artifacts.
        manifest: the bundle's.
        golden: its texts with its own ids, and its own reference's logits.
        architecture: shapes for the count of products, or why there are none.
    """

    label: str
    manifest: Manifest
    golden: Golden
    architecture: Architecture | str

    def figures(self, logits: Logits) -> dict[str, float]:
        """Parity with the bundle's own reference."""
        return parity_figures(self.golden, logits, self.manifest.task)


@dataclass(frozen=True, slots=True)
class Lineup:
    """All bundles of a run.

    Attributes:
        members: the first is what the others are held against.
        shared: for each member, the rows of the texts that all have, in one order.
    """

    members: tuple[Member, ...]
    shared: tuple[Rows, ...]

    @property
    def first(self) -> Member:
        """What the others are held against."""
        return self.members[0]

    @property
    def several(self) -> bool:
        """Whether there is more than one bundle."""
        return len(self.members) > 1

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(inner, outer) of every linear layer in a block of any of them, each once."""
        known = [m.architecture for m in self.members if not isinstance(m.architecture, str)]
        return tuple(dict.fromkeys(shape for one in known for shape in one.shapes))

    def against_first(self, place: int, logits: Logits) -> dict[str, float]:
        """Parity of a member's artifact with the first bundle's reference, over shared texts.

        Args:
            place: of the member.
            logits: float32 [cases of the member, labels].

        Returns:
            As `runtime.bench.accuracy.parity_figures`; nothing where no text is shared.
        """
        first = self.first
        rows = self.shared[0]
        if not len(rows) or logits.shape[1] != first.golden.reference.shape[1]:
            return {}
        cases = tuple(first.golden.cases[row] for row in rows)
        held = Golden(cases=cases, reference=first.golden.reference[rows])
        own = logits[self.shared[place]]
        own = under_thresholds(own, self.members[place].manifest.task, first.manifest.task)
        return parity_figures(held, own, first.manifest.task)

    def doubts(self) -> list[str]:
        """What a reader must know of the comparison between bundles."""
        if not self.several:
            return []
        cases = self.first.golden.cases
        natural = sum(case.set in NATURAL for case in cases)
        there = sum(cases[row].set in NATURAL for row in self.shared[0])
        if not there:
            return [
                f"the bundles have no text in common, so nothing is known of their flips against "
                f"{self.first.label}; export them with the same data"
            ]
        if there < natural:
            return [
                f"flips against {self.first.label} are over the {there} of its {natural} natural "
                "texts that every bundle has with the same labels"
            ]
        return []


def lineup_of(bundles: Sequence[Bundle]) -> Lineup:
    """Read what a run needs of each bundle.

    Args:
        bundles: verified; at least one.

    Raises:
        UserError: their tasks differ, or golden cases cannot be read.
    """
    labels = _labels([bundle.path for bundle in bundles])
    for label, bundle in zip(labels, bundles, strict=True):
        _same_task(labels[0], bundles[0].manifest, label, bundle.manifest)
    members = tuple(
        Member(
            label,
            bundle.manifest,
            read_golden(bundle.file(GOLDEN)),
            architecture_of(bundle.manifest),
        )
        for label, bundle in zip(labels, bundles, strict=True)
    )
    return Lineup(members, shared_rows([member.golden for member in members]))


def shared_rows(goldens: Sequence[Golden]) -> tuple[Rows, ...]:
    """For each, the rows of the cases that all have, in the first's order.

    A case is the same if its set, its text and its true labels are; ids may differ, because a
    smaller vocabulary cuts a text otherwise.
    """
    known = [{_key(case): row for row, case in enumerate(one.cases)} for one in goldens]
    keys = [_key(case) for case in goldens[0].cases]
    common = [key for key in keys if all(key in rows for rows in known)]
    # A text that stands twice in the first stays twice: it is what the first's own figures count.
    places = [row for row, key in enumerate(keys) if all(key in rows for rows in known)]
    others = [[rows[key] for key in common] for rows in known[1:]]
    return tuple(np.array(rows, dtype=np.int64) for rows in (places, *others))


def under_thresholds(logits: Logits, own: TaskSpec, other: TaskSpec) -> Logits:
    """Logits that lead to the same decisions under another task's thresholds.

    A label is given where sigmoid(x) >= t, which is x >= logit(t). So x + logit(t') - logit(t)
    decides under t' as x does under t.

    Args:
        logits: float32 [texts, labels].
        own: multi-label with the thresholds that the logits were made for; else nothing changes.
        other: with the thresholds that they will be read with.
    """
    if own.thresholds is None or other.thresholds is None or own.thresholds == other.thresholds:
        return logits
    shift = [_logit(b) - _logit(a) for a, b in zip(own.thresholds, other.thresholds, strict=True)]
    return np.asarray(logits + np.array(shift), dtype=np.float32)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _key(case: GoldenCase) -> tuple[str, str, tuple[int, ...] | None]:
    return case.set, case.text, case.targets


def _same_task(label: str, first: Manifest, other: str, manifest: Manifest) -> None:
    ours, theirs = first.task, manifest.task
    if (ours.kind, ours.activation, ours.labels) == (theirs.kind, theirs.activation, theirs.labels):
        return
    differs = "labels" if ours.kind == theirs.kind else "kinds of answer"
    raise UserError(
        f"{other} answers another task than {label}",
        why=f"their {differs} differ: {_task(theirs.labels, theirs.kind)} against "
        f"{_task(ours.labels, ours.kind)}",
        todo="run the benchmark once for each task",
    )


def _task(labels: Sequence[str], kind: str) -> str:
    some = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
    return f"{kind.replace('_', ' ')} of {len(labels)} ({some})" if labels else kind


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of their parents as make them differ."""
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        twice = next(folder for folder, path in zip(folders, paths, strict=True)
                     if paths.count(path) > 1)  # fmt: skip
        raise UserError(f"{twice} is named twice", todo="name each bundle once")
    for count in range(1, max(map(len, paths)) + 1):
        found = ["/".join(path[-count:]) for path in paths]
        if len(set(found)) == len(found):
            return found
    return ["/".join(path) for path in paths]
