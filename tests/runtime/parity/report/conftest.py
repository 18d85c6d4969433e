"""Reports judged by the real metrics and gates, from logits made up for the purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.golden import Golden, GoldenCase
from runtime.manifest import (
    ArtifactSpec,
    DataSpec,
    Manifest,
    SourceSpec,
    TaskSpec,
    TokenizerSpec,
    WeightsSummary,
)
from runtime.parity.agreement import agreement
from runtime.parity.evidence import Evidence, Machine
from runtime.parity.gates import REQUIRED_IF_KNOWN, check_all, verdict_of
from runtime.parity.judge import ArtifactReport, GateSpec, ParityReport, worst
from runtime.parity.metrics import one_hot, tensor_figures

Logits = npt.NDArray[np.float32]

X86 = Machine("x86_64", features=("avx2",))
A53 = Machine("arm64", "cortex-a53", emulator="qemu-aarch64 10.0.2")

LIMITS = {
    "max_abs": 1.0,
    "max_rel": 0.3,
    "cosine": 0.99,
    "sqnr_db": 20.0,
    "kl_mean": 0.05,
    "flip_rate_bound": 0.05,
    "large_margin_flips": 0.0,
    "metric_drop_bound": 0.1,
    "ece_change": 0.05,
    "boundary_flip_rate": 1.0,
    "padding_rel": 1e-3,
    "repeat_rel": 0.0,
}
MEASURED = {"padding_rel": 2e-7, "repeat_rel": 0.0}

HOSTILE = (
    "<script>alert(1)</script>",
    "]]> --> <!-- &amp; \" ' </style></svg></details>",
    "nul\x00, escape\x1b, c1\x85, half \ud83d, noncharacter \ufffe, planes \U0001fffe",
    "\u202eright to left\u2066 and a mark\ufeff",
    "",
    "   ",
    "x" * 10_000,
    "z\u200dw\r\n\ttab",
)


@dataclass(frozen=True)
class World:
    """A task, its golden cases, and what artifacts gave for them."""

    golden: Golden
    manifest: Manifest

    def evidence(
        self,
        path: str = "model.onnx",
        logits: Logits | None = None,
        machine: Machine = X86,
        rows: Sequence[int] | None = None,
        **changes: Any,
    ) -> Evidence:
        """Of an artifact that gave `logits` for every case, or the reference's own."""
        own = self.golden.reference if logits is None else logits
        chosen = tuple(range(len(self.golden.cases))) if rows is None else tuple(rows)
        plain: dict[str, Any] = {
            "sha256": "0" * 64,
            "environment": {"runtime": "onnxruntime 1.31.0", "threads": "1"},
            "measured": dict(MEASURED),
        }
        return Evidence(
            path, machine=machine, rows=chosen, logits=own[list(chosen)], **(plain | changes)
        )

    def report(
        self,
        *evidence: Evidence,
        limits: dict[str, float] | None = None,
        doubts: tuple[str, ...] = (),
        wrong_ids: tuple[str, ...] = (),
        contradictions: tuple[str, ...] = (),
    ) -> ParityReport:
        """The judge's work without a bundle on disk."""
        reports = [self._judge(found, LIMITS | (limits or {}), doubts) for found in evidence]
        sets = [case.set for case in self.golden.cases]
        return ParityReport(
            verdict=worst([report.verdict for report in reports]),
            metric="accuracy",
            reference_metric=0.9,
            reference_doubts=doubts,
            cases={name: sets.count(name) for name in dict.fromkeys(sets)},
            wrong_ids=wrong_ids,
            contradictions=contradictions,
            artifacts=tuple(reports),
        )

    def _judge(
        self, found: Evidence, limits: dict[str, float], doubts: tuple[str, ...]
    ) -> ArtifactReport:
        rows = list(found.rows)
        cases = [self.golden.cases[row] for row in rows]
        task, reference = self.manifest.task, self.golden.reference[rows]
        targets = one_hot([case.targets or () for case in cases], len(task.labels))
        agreed = agreement(reference, found.logits, tuple(c.set for c in cases), targets, task)
        figures = tensor_figures(reference, found.logits) | agreed.figures | found.measured
        checks = check_all(figures, limits, {"flip_rate_bound": "more texts would tell"})
        missing = [name for name in REQUIRED_IF_KNOWN if name in limits and name not in figures]
        verdict = verdict_of(checks, doubts)
        return ArtifactReport(
            path=found.artifact,
            recipe="float32",
            verdict="fail" if found.wrong_ids or found.wrong_labels else verdict,
            checks=checks,
            figures=figures,
            per_label=agreed.per_label,
            doubts=(),
            not_measured=tuple(missing),
            evidence=found,
            gate=GateSpec(
                {found.machine.architecture: limits},
                {found.machine.architecture: {name: v / 2 for name, v in limits.items()}},
            ),
        )


MakeWorld = Callable[..., World]


def _world(
    labels: Sequence[str] = ("sunny", "rainy", "snowy"),
    texts: int = 200,
    *,
    multi: bool = False,
    paths: Sequence[str] = ("model.onnx", "model_int8.onnx"),
    hostile: Sequence[str] = (),
) -> World:
    rng = np.random.default_rng(11)
    reference = rng.normal(0, 3, (texts, len(labels))).astype(np.float32)
    task = TaskSpec("single_label", "softmax", tuple(labels))
    chosen = np.eye(len(labels), dtype=np.bool_)[reference.argmax(axis=1)]
    if multi:
        task = TaskSpec("multi_label", "sigmoid", tuple(labels), (0.4,) * len(labels))
        chosen = reference > 0
    cases = []
    for row in range(texts):
        place = row / texts
        name = "validation" if place < 0.6 else "unlabelled" if place < 0.8 else "boundary"
        name = "awkward" if place >= 0.9 else name
        text = hostile[row % len(hostile)] if hostile else f"text number {row}"
        truth = tuple(int(i) for i in np.flatnonzero(chosen[row]))
        ids = (2, 5 + row, 3)
        targets = truth if name == "validation" else None
        cases.append(GoldenCase(f"{name}/{row}", name, text, ids, (1, 1, 1), targets))
    tokenizer = TokenizerSpec(
        *("WordPiece", "tokenizer.json", "vocab.txt", 300, 64, 0, "right"),
        *("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "first", "none", True, True, True, True),
    )
    weights = WeightsSummary({"float32": 1000}, ())
    artifacts = tuple(
        ArtifactSpec(
            path, "onnx", "float32", "float32", 4000, "0" * 64, (), (), None, {}, weights, "pass"
        )
        for path in paths
    )
    manifest = Manifest(
        *(2, "weather", task, tokenizer, artifacts, ()),
        SourceSpec("tiny", "DistilBertForSequenceClassification", "distilbert", None, "0" * 64, 1),
        DataSpec("rows", "0", {}, {}),
        *({}, {}),
    )
    return World(Golden(tuple(cases), reference), manifest)


@pytest.fixture
def make_world() -> MakeWorld:
    """A world by its labels, texts and kind of task."""
    return _world


@pytest.fixture
def world() -> World:
    """Three labels, 200 texts, two artifacts."""
    return _world()


@pytest.fixture
def noisy(world: World) -> Logits:
    """Logits a little off, as int8 gives them; some decisions flip."""
    noise = np.random.default_rng(3).normal(0, 0.1, world.golden.reference.shape)
    return np.asarray(world.golden.reference + noise, dtype=np.float32)


@pytest.fixture
def mixed(world: World, noisy: Logits) -> ParityReport:
    """One artifact that passes, one that fails: its labels are in another order."""
    swapped = noisy[:, [1, 0, 2]]
    return world.report(world.evidence(), world.evidence("model_int8.onnx", swapped))


@pytest.fixture
def hostile() -> tuple[World, ParityReport]:
    """Texts, labels, names and environment that try to leave their place."""
    nasty = _world(HOSTILE[:3], 10, paths=("<b>&\x01.onnx",), hostile=HOSTILE)
    nasty = replace(nasty, manifest=replace(nasty.manifest, name="bundle <i>\ud800"))
    found = nasty.evidence(
        "<b>&\x01.onnx",
        nasty.golden.reference[:, [1, 2, 0]],
        Machine("x86_64", "<cpu>", emulator="q\x00"),
        environment={"<key>": "value ]]>\x02", "leaves_open": "<script src=x>"},
        wrong_ids=("validation/<1>", "awkward/\udfff"),
        wrong_labels=("validation/&2",),
    )
    return nasty, nasty.report(found, doubts=("doubt <u>\x03",), wrong_ids=("awkward/\x04",))
