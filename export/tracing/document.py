"""What a trace of one text holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from runtime.manifest import TaskSpec

Floats = npt.NDArray[np.float32]
Part = Literal["embeddings", "block", "head"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One position of the sequence.

    Attributes:
        position: from 0.
        token: as the vocabulary writes it.
        id: what the model reads.
        start, end: characters of the text; equal for a token that stands for no text.
        text: these characters.
        word: number of the word it is a part of, None for a special token.
        special: added by the tokenizer, such as [CLS].
        unknown: stands for something that the vocabulary does not have.
    """

    position: int
    token: str
    id: int
    start: int
    end: int
    text: str
    word: int | None
    special: bool
    unknown: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """One tensor on the way.

    Attributes:
        name: of the module, or of the block.
        part: where in the model.
        block: number of the block it is in, from 1; 0 outside.
        shape: with the batch axis, which is 1 and comes first but in XLNet.
        mean, std: over all elements.
        norm: Euclidean length of a position's vector, mean over the positions.
        milliseconds: what the block took, median of a few runs; None for what is inside one.
    """

    name: str
    part: Part
    block: int
    shape: tuple[int, ...]
    mean: float
    std: float
    norm: float
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class LabelStep:
    """One label's way out.

    Attributes:
        threshold: multi-label only: the probability from which the label is given.
        given: the text gets the label.
    """

    name: str
    logit: float
    probability: float
    threshold: float | None
    given: bool


@dataclass(frozen=True, slots=True)
class ArtifactLogits:
    """What an artifact of a bundle makes of the same text.

    Attributes:
        path: of the artifact in the bundle.
        same_ids: the bundle's tokenizer gives the same ids.
        labels: that the artifact gives the text.
        difference: largest distance from PyTorch's logits; None where the ids differ.
    """

    path: str
    same_ids: bool
    logits: tuple[float, ...]
    labels: tuple[str, ...]
    difference: float | None


@dataclass(frozen=True, slots=True, eq=False)
class TextTrace:
    """The way of one text through a model.

    Attributes:
        model: name of the checkpoint.
        family: such as ``DistilBERT``.
        parameters: of the model.
        text: as given, but for halves of surrogate pairs, which are U+FFFD now.
        normalised: what the tokenizer's normalizer makes of it.
        words: what the pre-tokenizer cuts that into.
        tokens: what the model reads, after truncation.
        left_out: ids that did not fit into `max_length`.
        max_length: longest sequence in ids.
        pooled_position: the position whose vector is classified.
        stages: in the order of the computation.
        attention: float32 [layers, heads, positions, positions]; row i is how position i looks at
            all positions, and sums to 1.
        looked_at: float32 [layers, positions], row of the pooled position, mean over heads.
        rollout: float32 [positions], attention rollout to the pooled position; sums to 1.
        pooled: float32 [dim], the encoder's output at the pooled position.
        head_vector: float32 [dim], what the last linear layer reads.
        logits: float32 [labels], exactly those of `export.reference`.
        eager_difference: largest distance between `logits` and the logits of the pass that yields
            the attention.
        task: labels, activation and thresholds.
        labels: in the order of the logits.
    """

    model: str
    family: str
    parameters: int
    text: str
    normalised: str
    words: tuple[str, ...]
    tokens: tuple[TokenStep, ...]
    left_out: int
    max_length: int
    pooled_position: int
    stages: tuple[Stage, ...]
    attention: Floats
    looked_at: Floats
    rollout: Floats
    pooled: Floats
    head_vector: Floats
    logits: Floats
    eager_difference: float
    task: TaskSpec
    labels: tuple[LabelStep, ...]
    artifacts: tuple[ArtifactLogits, ...] = field(default=())

    @property
    def given(self) -> tuple[str, ...]:
        """The labels that the text gets, likeliest first."""
        chosen = sorted((x for x in self.labels if x.given), key=lambda x: -x.probability)
        return tuple(label.name for label in chosen)

    def to_json(self, *, attention: bool = False) -> dict[str, Any]:
        """JSON-safe; with `attention` every layer's and head's matrix, which may be megabytes."""
        value: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "family": self.family,
            "parameters": self.parameters,
            "text": self.text,
            "normalised": self.normalised,
            "words": list(self.words),
            "tokens": [asdict(token) for token in self.tokens],
            "left_out": self.left_out,
            "max_length": self.max_length,
            "pooled_position": self.pooled_position,
            "stages": [asdict(stage) | {"shape": list(stage.shape)} for stage in self.stages],
            "looked_at": self.looked_at.tolist(),
            "rollout": self.rollout.tolist(),
            "pooled": self.pooled.tolist(),
            "head_vector": self.head_vector.tolist(),
            "logits": self.logits.tolist(),
            "eager_difference": self.eager_difference,
            "task": self.task.kind,
            "activation": self.task.activation,
            "labels": [asdict(label) for label in self.labels],
            "given": list(self.given),
            "artifacts": [asdict(artifact) for artifact in self.artifacts],
        }
        if attention:
            value["attention"] = self.attention.tolist()
        return value
