"""What to train and what to export, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runtime.errors import UserError

SMALL, FULL = "small", "full"
_SMALL_FAMILY = "small:"
DEFAULT_MAX_LENGTH = 128

Precision = Literal["auto", "float32", "bfloat16", "float16"]
ClassWeights = Literal["none", "balanced"]
Tuning = Literal["whole", "head"]
Thresholds = Literal["tuned", "half"]
BaselineName = Literal["bag_of_words", "lstm"]


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Settings of the optimiser.

    Attributes:
        epochs: passes over the training split.
        batch_size: texts per process and pass through the model. A step takes this times
            `accumulation` times the number of processes.
        learning_rate: peak of the linear schedule.
        weight_decay: AdamW's decoupled decay.
        warmup_share: share of all steps in which the rate rises from 0.
        label_smoothing: single-label only.
        group_by_length: batches of texts of like length, so that little time goes into padding.
        accumulation: passes whose gradients are added up before a step.
        patience: stop after so many epochs without a better one; None trains them all.
        class_weights: ``balanced`` lets rare labels count as much as frequent ones.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    label_smoothing: float = 0.0
    group_by_length: bool = True
    accumulation: int = 1
    patience: int | None = None
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        """Refuse what cannot train.

        Raises:
            UserError: a value out of its range.
        """
        if self.epochs < 1 or self.batch_size < 1:
            raise UserError("epochs and batch size must be at least 1")
        if self.accumulation < 1 or (self.patience is not None and self.patience < 1):
            raise UserError("accumulation and patience must be at least 1")
        if not 0 < self.learning_rate < 1:
            raise UserError("the learning rate must lie between 0 and 1")

    def override(self, **values: float | str | None) -> Hyperparameters:
        """A copy with the values that are not None."""
        return replace(self, **{k: v for k, v in values.items() if v is not None})  # type: ignore[arg-type]


# The DistilBERT paper's and transformers' usual fine-tuning settings.
PRETRAINED = Hyperparameters(
    epochs=3,
    batch_size=16,
    learning_rate=5e-5,
    weight_decay=0.01,
    warmup_share=0.1,
)
FROM_SCRATCH = Hyperparameters(
    epochs=20, batch_size=32, learning_rate=1e-3, weight_decay=0.01, warmup_share=0.1
)
# For a model of 768 dimensions, on sample:topic: 0.925 after one epoch. Tasks that need word order
# take it far more than that (sample:sentiment: 0.67 after two).
FULL_FROM_SCRATCH = Hyperparameters(
    epochs=2, batch_size=16, learning_rate=1e-4, weight_decay=0.01, warmup_share=0.1
)
# A head on frozen vectors: an epoch takes a moment, and so few weights bear a higher rate.
HEAD_ONLY = Hyperparameters(
    epochs=30, batch_size=32, learning_rate=1e-3, weight_decay=0.01, warmup_share=0.1, patience=5
)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A model that starts from random weights; as it stands, one that two cores train in minutes.

    Attributes:
        vocab_size: most tokens of its own WordPiece vocabulary.
        dim, layers, heads, hidden_dim: DistilBertConfig's sizes.
        dropout: on embeddings, residuals and attention.
        initializer_range: standard deviation of the first weights. BERT's 0.02 suits 768
            dimensions; at 128 it cost ten points of accuracy on the sample (0.748 against 0.843
            after 14 epochs).
        positions: fewest rows of the table of positions; more if texts may be longer.
        fill: whether a smaller vocabulary is filled up to `vocab_size` with ``[unused0]``,
            ``[unused1]`` …, as BERT's has them: rows that no text reads, but every file stores.
    """

    vocab_size: int = 8000
    dim: int = 128
    layers: int = 2
    heads: int = 4
    hidden_dim: int = 512
    dropout: float = 0.1
    initializer_range: float = 0.06
    positions: int = 0
    fill: bool = False


# distilbert-base-uncased's configuration: 67 million parameters. Its weights are on the hub; its
# size alone, which is what speed and memory depend on, can be had anywhere.
FULL_SIZE = ModelSize(
    vocab_size=30_522,
    dim=768,
    layers=6,
    heads=12,
    hidden_dim=3072,
    initializer_range=0.02,
    positions=512,
    fill=True,
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out; none of it changes the result.

    Attributes:
        save_every: steps between resume checkpoints; None saves as often as it costs less than
            one twentieth of the time.
        fresh: throw away what an interrupted run has left instead of continuing it.
        tensorboard: folder for TensorBoard's event files.
        baselines: what the model is compared with, see `export.training.baselines`; may be empty.
    """

    save_every: int | None = None
    fresh: bool = False
    tensorboard: Path | None = None
    baselines: tuple[BaselineName, ...] = ("bag_of_words", "lstm")

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: `save_every` is below 1.
        """
        if self.save_every is not None and self.save_every < 1:
            raise UserError("save-every must be at least 1")


@dataclass(frozen=True, slots=True)
class FineTuneSettings:
    """One fine-tuning run.

    Attributes:
        model: ``small``, ``small:FAMILY`` such as ``small:roberta``, ``full``, a local folder or a
            name on the hub.
        revision: commit or tag on the hub.
        hyperparameters: None takes `HEAD_ONLY`, or `PRETRAINED`, `FROM_SCRATCH` or
            `FULL_FROM_SCRATCH` by the model.
        small: sizes of ``small`` and ``small:FAMILY``; ``full`` has `FULL_SIZE`.
        max_length: longest sequence in ids, special tokens included.
        seed: of weights, shuffling and dropout.
        tuning: ``whole``, or ``head``: the encoder stays as it is and only the head learns.
        thresholds: multi-label: ``tuned`` on the validation split, or ``half``: 0.5.
        precision: of the passes through the model in training; weights and exports are float32.
            ``auto`` is float32 on a CPU, and on a GPU bfloat16, or float16 where it has no other.
        compile: with torch.compile.
        run: what does not change the result.
    """

    model: str = SMALL
    revision: str | None = None
    hyperparameters: Hyperparameters | None = None
    small: ModelSize = ModelSize()
    max_length: int = DEFAULT_MAX_LENGTH
    seed: int = 13
    tuning: Tuning = "whole"
    thresholds: Thresholds = "tuned"
    precision: Precision = "auto"
    compile: bool = False
    run: RunOptions = RunOptions()

    def what_decides(self) -> dict[str, Any]:
        """Everything that the result depends on, JSON-safe, with the effective hyper-parameters."""
        values = asdict(self) | {"hyperparameters": asdict(self.effective)}
        values["small"] = asdict(self.size)
        del values["run"]
        return values

    @property
    def new_family(self) -> str | None:
        """The family of a model that is trained from scratch; None for a checkpoint."""
        if self.model in (SMALL, FULL):
            return "distilbert"
        if self.model.startswith(_SMALL_FAMILY):
            return self.model.removeprefix(_SMALL_FAMILY)
        return None

    @property
    def is_from_scratch(self) -> bool:
        """Whether the model starts from random weights."""
        return self.new_family is not None

    @property
    def size(self) -> ModelSize:
        """Of a model that starts from random weights."""
        return FULL_SIZE if self.model == FULL else self.small

    @property
    def effective(self) -> Hyperparameters:
        """The hyper-parameters that the run uses."""
        usual = FROM_SCRATCH if self.is_from_scratch else PRETRAINED
        if self.model == FULL:
            usual = FULL_FROM_SCRATCH
        return self.hyperparameters or (HEAD_ONLY if self.tuning == "head" else usual)


def lengths_up_to(max_length: int, wanted: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Sequence lengths for formats with fixed shapes, ascending: those below max, and max.

    Args:
        max_length: of the bundle's texts, in ids.
        wanted: empty takes 32 and 64. Three lengths keep a 66M-parameter int8 TFLite file below
            68 MB; short texts, which are most, run at 32.

    Raises:
        UserError: a wanted length has no room for the special tokens or is above max.
    """
    wrong = [length for length in wanted if not 2 < length <= max_length]
    if wrong:
        raise UserError(
            f"no artifact can be made for texts of {wrong[0]} ids",
            why=f"a text has more than 2 and at most {max_length}, which MAX_LENGTH= changes",
        )
    return tuple(sorted({*(n for n in wanted or (32, 64) if n < max_length), max_length}))
