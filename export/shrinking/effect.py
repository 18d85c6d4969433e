"""How a smaller model differs from the one it comes from on texts that decided nothing.

Pruning is exact for texts whose pieces are all there. Other texts are cut into smaller pieces, and
with fewer layers every answer may change: that is measured here, on the validation and test texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from export.checkpoint import Checkpoint, load_classifier, load_tokenizer
from export.data.task import Example, TextDataset
from export.model_choice import labels_of, misfit, relabel, task_spec
from export.reference import reference_from_model, reference_logits
from export.shrinking.configuration import depth
from export.shrinking.selection import encodings
from export.shrinking.verify import sequences
from export.training.evaluation import Evaluation, evaluate
from export.unlabelled import choose_by_hash
from runtime.console import progress_bar, stage
from runtime.decisions import decisions
from runtime.parity.metrics import one_hot, task_metric, task_metric_name

if TYPE_CHECKING:
    from tokenizers import Encoding

    from runtime.manifest import TaskSpec

SPLITS = ("validation", "test")

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SplitEffect:
    """Figures of one split.

    Attributes:
        split: which one.
        texts: how many were compared.
        of: how many the split has.
        recut: texts that are cut into other pieces now.
        pieces: pieces of all texts now, special tokens left out.
        stand_ins: of them, those that stand in for a piece that is gone.
        unknown_before, unknown_after: unknown pieces.
        too_long_before, too_long_after: texts that are cut off at the longest length.
        metric: name of the main metric.
        before, after: its values.
        changed: decisions that changed: texts with another label; multi-label: pairs of a text and
            a label.
        decisions: how many there are.
    """

    split: str
    texts: int
    of: int
    recut: int
    pieces: int
    stand_ins: int
    unknown_before: int
    unknown_after: int
    too_long_before: int
    too_long_after: int
    metric: str
    before: float
    after: float
    changed: int
    decisions: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What the texts of a data set have to say.

    Attributes:
        splits: validation and test.
        evaluation: split → everything that is measured of the smaller model.
        data_sha256: of the data set.
    """

    splits: tuple[SplitEffect, ...]
    evaluation: dict[str, Evaluation]
    data_sha256: str


def effect_of(
    before: Checkpoint, after: Checkpoint, dataset: TextDataset, *, max_length: int, limit: int
) -> Effect | None:
    """Run both models over the validation and test texts.

    Args:
        before: the larger checkpoint.
        after: the smaller one.
        dataset: with labels.
        max_length: in ids; longer texts are cut off.
        limit: most texts of a split, chosen by their hash.

    Returns:
        None where the head does not answer what the data ask.
    """
    if misfit(before, dataset):
        return None
    sha256 = dataset.sha256()
    dataset = relabel(dataset, labels_of(before, dataset))
    task = task_spec(dataset, before)
    chosen = {
        split: [dataset.splits[split][i] for i in _chosen(dataset.splits[split], limit)]
        for split in SPLITS
    }
    texts = [example.text for split in SPLITS for example in chosen[split]]
    with stage("comparing with the larger model on validation and test texts"):
        was = _Run(before, texts, max_length)
        # With all layers and all other weights the same, a text of the same pieces has the same
        # logits, as was verified: it need not be run again.
        now = _Run(after, texts, max_length, was if depth(before) == depth(after) else None)
    effects, evaluation, start = [], {}, 0
    for split, examples in chosen.items():
        rows = slice(start, start + len(examples))
        start = rows.stop
        targets = one_hot([example.labels for example in examples], len(dataset.labels))
        effects.append(_compared(split, len(dataset.splits[split]), was, now, rows, targets, task))
        evaluation[split] = evaluate(
            now.logits[rows],
            targets if dataset.is_multi_label else targets.argmax(axis=1),
            dataset.labels,
            multi_label=dataset.is_multi_label,
            thresholds=task.thresholds,
        )
    return Effect(tuple(effects), evaluation, sha256)


class _Run:
    """One checkpoint's pieces and logits of all texts."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        texts: Sequence[str],
        max_length: int,
        like: _Run | None = None,
    ) -> None:
        tokenizer = load_tokenizer(checkpoint)
        self.unknown = checkpoint.family.special.unk
        self.encodings: list[Encoding] = list(encodings(tokenizer, texts))
        reference = reference_from_model(load_classifier(checkpoint))
        ids = sequences(tokenizer, texts, reference, max_length)
        frame = tokenizer.num_special_tokens_to_add(is_pair=False)
        self.too_long = [
            len(encoding.ids) + frame > len(row)
            for encoding, row in zip(self.encodings, ids, strict=True)
        ]
        rows = [
            row
            for row, encoding in enumerate(self.encodings)
            if like is None or encoding.tokens != like.encodings[row].tokens
        ]
        self.logits: Logits = np.empty((len(texts), reference.labels), dtype=np.float32)
        if like is not None:
            self.logits[:] = like.logits
        with progress_bar(checkpoint.name) as bar:
            chosen = [ids[row] for row in rows]
            self.logits[rows] = reference_logits(reference, chosen, progress=bar)


def _compared(
    split: str,
    of: int,
    was: _Run,
    now: _Run,
    rows: slice,
    targets: npt.NDArray[np.bool_],
    task: TaskSpec,
) -> SplitEffect:
    old, new = was.encodings[rows], now.encodings[rows]
    chose, chooses = (decisions(run.logits[rows], task) for run in (was, now))
    many = task.kind == "multi_label"
    changed = chose != chooses if many else (chose != chooses).any(axis=1)
    return SplitEffect(
        split=split,
        texts=len(old),
        of=of,
        recut=sum(a.tokens != b.tokens for a, b in zip(old, new, strict=True)),
        pieces=sum(len(b.tokens) for b in new),
        stand_ins=sum(len(_cuts(b) - _cuts(a)) for a, b in zip(old, new, strict=True)),
        unknown_before=sum(a.tokens.count(was.unknown) for a in old),
        unknown_after=sum(b.tokens.count(now.unknown) for b in new),
        too_long_before=sum(was.too_long[rows]),
        too_long_after=sum(now.too_long[rows]),
        metric=task_metric_name(task),
        before=task_metric(chose, targets, task),
        after=task_metric(chooses, targets, task),
        changed=int(changed.sum()),
        decisions=int(changed.size),
    )


def _cuts(encoding: Encoding) -> set[tuple[str, tuple[int, int]]]:
    """Pieces with their places in the text."""
    return set(zip(encoding.tokens, encoding.offsets, strict=True))


def _chosen(examples: Sequence[Example], limit: int) -> list[int]:
    return choose_by_hash([example.text for example in examples], limit)
