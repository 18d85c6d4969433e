"""The same texts through Python, the JVM and the browser: do they say the same?

Every program is compared with Python on every artifact that it can run. Float artifacts of two
formats are compared with each other, too; quantized ones differ by how they were quantized, and the
parity gate judges that.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from android_demo.toolchain.downloads import Say, quiet
from android_demo.toolchain.jvm import Answer, jvm_program
from android_demo.toolchain.minimise import minimise
from runtime.bundle import Bundle
from runtime.classify import Classification, TextClassifier
from runtime.cli_support import lines_of
from runtime.errors import UserError
from runtime.files import json_number
from runtime.manifest import ArtifactSpec

PYTHON, JVM, BROWSER = "python", "jvm", "browser"
# Program → the formats that it runs; Python runs both and is what others are compared with.
FORMATS = {JVM: ("tflite",), BROWSER: ("onnx", "tflite")}
PROGRAMS = (PYTHON, *FORMATS)

# Answers to any texts, in their order.
Ask = Callable[[Sequence[str]], list[Answer]]


@dataclass(frozen=True, slots=True)
class Column:
    """A program with an artifact, and how to ask it."""

    program: str
    artifact: str
    ask: Ask

    @property
    def name(self) -> str:
        """For tables: ``jvm model.tflite``."""
        return f"{self.program} {self.artifact}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A text on which two programs differ.

    Attributes:
        what: ``ids`` or ``labels``.
        text: as given.
        smallest: the smallest text with the same kind of difference that was found.
        here, there: both programs' answers to `smallest`.
    """

    what: str
    text: str
    smallest: str
    here: Answer
    there: Answer

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "what": self.what,
            "text": self.text,
            "smallest": self.smallest,
            "here": _json_answer(self.here),
            "there": _json_answer(self.there),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two programs on all texts.

    Attributes:
        here, there: names of the columns.
        texts: how many.
        other_ids, other_labels: how many texts differ.
        max_abs: largest difference of a logit, over texts with the same ids; None if the two ran
            different weights.
        differences: one example of each kind.
    """

    here: str
    there: str
    texts: int
    other_ids: int
    other_labels: int
    max_abs: float | None
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether all ids and all labels agree."""
        return not self.other_ids and not self.other_labels

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "here": self.here,
            "there": self.there,
            "texts": self.texts,
            "other_ids": self.other_ids,
            "other_labels": self.other_labels,
            "max_abs": None if self.max_abs is None else json_number(self.max_abs),
            "same": self.same,
            "differences": [difference.to_json() for difference in self.differences],
        }


def read_texts(path: Path) -> list[str]:
    """Texts of a file: one a line; of ``.jsonl`` a JSON string a line; of ``.json`` a list.

    Raises:
        UserError: it cannot be read as that, or has no text.
    """
    try:
        if path.suffix == ".json":
            texts = json.loads(path.read_bytes())
        elif path.suffix == ".jsonl":
            texts = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        else:
            texts = list(lines_of(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON", why=str(error)) from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{path} holds something other than strings",
            todo='write ["a text", "another"] in .json, or "a text" on each line of .jsonl',
        )
    if not texts:
        raise UserError(f"{path} has no text")
    return texts


def fitting(bundle: Bundle) -> list[str]:
    """The programs, of `PROGRAMS`, that run one of a bundle's formats."""
    there = {artifact.format for artifact in bundle.manifest.artifacts}
    return [PYTHON, *(program for program, formats in FORMATS.items() if there & set(formats))]


def columns(bundle: Bundle, programs: Iterable[str], say: Say = quiet) -> list[Column]:
    """Every program with every artifact that it can run.

    Args:
        bundle: opened and verified.
        programs: of `PROGRAMS`; Python is always among them.
        say: told what is fetched and compiled.

    Raises:
        UserError: a program is not known, cannot be had, or has no artifact to run.
    """
    chosen = list(dict.fromkeys(programs))
    if unknown := [name for name in chosen if name not in PROGRAMS]:
        raise UserError(f"there is no program {unknown[0]!r}", todo=f"name {', '.join(PROGRAMS)}")
    found: list[Column] = []
    for program in (name for name in FORMATS if name in chosen):
        formats = FORMATS[program]
        artifacts = [a for a in bundle.manifest.artifacts if a.format in formats]
        if not artifacts:
            raise UserError(
                f"{bundle.path} has no {' or '.join(formats)} artifact, which the {program} runs",
                todo=f"export with TARGET={formats[0]}, or leave the {program} out of --through",
            )
        ask_with = _jvm(bundle, say) if program == JVM else _browser(bundle)
        for artifact in artifacts:
            if not any(c.program == PYTHON and c.artifact == artifact.path for c in found):
                found.append(Column(PYTHON, artifact.path, _python(bundle, artifact)))
            found.append(Column(program, artifact.path, ask_with(artifact.path)))
    if not found:
        raise UserError("nothing is compared", todo="name jvm, browser or both in --through")
    return found


def compare(
    bundle: Bundle,
    asked: Sequence[Column],
    texts: Sequence[str],
    say: Say = quiet,
    keep: dict[str, Any] | None = None,
) -> list[Comparison]:
    """Ask every column about every text, and compare those that have to agree.

    Args:
        bundle: that all columns run.
        asked: in the order in which they are asked.
        texts: any strings.
        say: told whose turn it is.
        keep: given every column's answers, as plain JSON values under its name.

    Raises:
        UserError: a program fails.
    """
    answers = []
    for column in asked:
        say(f"{column.name}: {len(texts)} texts")
        answers.append(column.ask(texts))
        if keep is not None:
            keep[column.name] = [_json_answer(answer) for answer in answers[-1]]
    formats = {a.path: a.format for a in bundle.manifest.artifacts if a.precision == "float32"}
    found = []
    for here, there in itertools.combinations(range(len(asked)), 2):
        one, other = asked[here], asked[there]
        on_one = one.artifact == other.artifact and PYTHON in (one.program, other.program)
        on_two = (
            {one.program, other.program} == set(FORMATS)
            and {one.artifact, other.artifact} <= set(formats)
            and formats[one.artifact] != formats[other.artifact]
        )
        if on_one or on_two:
            pair = answers[here], answers[there]
            found.append(_compare(one, other, texts, pair, one_artifact=on_one))
    return found


def _compare(
    here: Column,
    there: Column,
    texts: Sequence[str],
    answers: tuple[list[Answer], list[Answer]],
    *,
    one_artifact: bool,
) -> Comparison:
    pairs = list(zip(*answers, strict=True))
    other = {kind: [i for i, p in enumerate(pairs) if _differ(kind, *p)] for kind in _KINDS}
    largest = max((_distance(*pair) for pair in pairs if not _differ("ids", *pair)), default=0.0)
    examples = tuple(
        _example(kind, texts[places[0]], here, there) for kind, places in other.items() if places
    )
    return Comparison(
        here.name,
        there.name,
        len(texts),
        len(other["ids"]),
        len(other["labels"]),
        largest if one_artifact else None,
        examples,
    )


_KINDS = ("ids", "labels")


def _differ(kind: str, here: Answer, there: Answer) -> bool:
    if kind == "ids":
        return here["ids"] != there["ids"]
    return sorted(here["labels"]) != sorted(there["labels"])


def _distance(here: Answer, there: Answer) -> float:
    one, other = (np.asarray(a["logits"], dtype=np.float32) for a in (here, there))
    if one.shape != other.shape:
        return math.inf
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    gap = np.where(equal, 0.0, np.abs(one.astype(np.float64) - other))
    return float(np.nan_to_num(gap, nan=math.inf).max(initial=0.0))


def _example(kind: str, text: str, here: Column, there: Column) -> Difference:
    def differs(candidates: Sequence[str]) -> list[bool]:
        pairs = zip(here.ask(candidates), there.ask(candidates), strict=True)
        return [_differ(kind, *pair) for pair in pairs]

    smallest = minimise(text, differs)
    return Difference(kind, text, smallest, here.ask([smallest])[0], there.ask([smallest])[0])


def _python(bundle: Bundle, artifact: ArtifactSpec) -> Ask:
    classifier = TextClassifier(bundle, artifact)
    return lambda texts: [
        _python_answer(found, bundle.manifest.task.labels)
        for found in classifier.classify_all(texts)
    ]


def _python_answer(found: Classification, labels: Sequence[str]) -> Answer:
    return Answer(
        ids=list(found.ids),
        logits=list(found.logits),
        probabilities=[found.probabilities[label] for label in labels],
        labels=list(found.labels),
    )


def _jvm(bundle: Bundle, say: Say) -> Callable[[str], Ask]:
    program = jvm_program(say)
    return lambda artifact: lambda texts: program.answers(bundle.path, artifact, texts)


def _browser(bundle: Bundle) -> Callable[[str], Ask]:
    # Imported here: it brings a driver for browsers.
    from android_demo.toolchain.browser import browser_answers

    return lambda artifact: lambda texts: list(browser_answers(bundle.path, artifact, texts))


def _json_answer(answer: Answer) -> dict[str, Any]:
    return {
        "ids": answer["ids"],
        "labels": answer["labels"],
        "logits": [json_number(value) for value in answer["logits"]],
    }
