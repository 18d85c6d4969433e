"""What a distillation is asked to do, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from export.settings import FineTuneSettings, Hyperparameters
from runtime.errors import UserError

Kind = Literal["general", "task"]
SoftPositions = Literal["all", "masked"]

# Students that are made from the teacher; anything else is a small model, a folder or a hub name.
FROM_TEACHER = "from-teacher"
SAME_FAMILY = "same-family"

# Both scripts of transformers' research project "distillation" have T = 2 by default.
TEMPERATURE = 2.0

# The defaults of the project's train.py, but for the batch: there 5 texts, 50 times accumulated, on
# a corpus of millions of texts.
GENERAL = Hyperparameters(
    epochs=3, batch_size=32, learning_rate=5e-4, weight_decay=0.0, warmup_share=0.05
)


@dataclass(frozen=True, slots=True)
class GeneralWeights:
    """Weights of the three terms of general distillation; 0 leaves a term out.

    The defaults are those of the command in the project's README (``--alpha_ce 5.0 --alpha_mlm 2.0
    --alpha_cos 1.0``); the paper, arXiv 1910.01108, names the terms and not their weights.

    Attributes:
        soft: of the teacher's distribution over the vocabulary.
        masked: of masked language modelling.
        cosine: of the directions of the last hidden states.
    """

    soft: float = 5.0
    masked: float = 2.0
    cosine: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be a weight.

        Raises:
            UserError: a weight is negative or no number, or all are 0.
        """
        values = (self.soft, self.masked, self.cosine)
        if not all(0.0 <= value < float("inf") for value in values):
            raise UserError("a weight of the loss must be a number from 0 up")
        if not any(values):
            raise UserError("all weights of the loss are 0", todo="leave at least one term in")


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """One distillation.

    Attributes:
        teacher: a checkpoint's folder or hub name.
        kind: ``general`` teaches language by masked texts, ``task`` a classifier's answers.
        student: `FROM_TEACHER` (a BERT gives a DistilBERT, others a shallower copy), `SAME_FAMILY`,
            ``small``, ``small:FAMILY``, ``full``, a folder or a hub name.
        layers: of the teacher, for a student made from it; None spreads half as many.
        temperature: T of the soft targets.
        alpha: task: weight of the soft term, the hard one has 1 - alpha (the project's
            run_squad_w_distillation.py has 0.5 and 0.5).
        weights: general: of the three terms.
        soft_positions: general: where the soft targets are compared: at ``all`` tokens (as
            train.py without ``--restrict_ce_to_mask``) or the ``masked`` ones.
        training: optimiser, length, seed and so on; its `model` is not looked at.
    """

    teacher: str
    kind: Kind = "task"
    student: str = FROM_TEACHER
    layers: tuple[int, ...] | None = None
    temperature: float = TEMPERATURE
    alpha: float = 0.5
    weights: GeneralWeights = GeneralWeights()
    soft_positions: SoftPositions = "all"
    training: FineTuneSettings = field(default_factory=FineTuneSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: a value out of its range, or layers for a student that is not taken from the
                teacher.
        """
        if not 0.0 < self.temperature < float("inf"):
            raise UserError("the temperature must be above 0", todo="try 1 to 4")
        if not 0.0 <= self.alpha <= 1.0:
            raise UserError("alpha must lie between 0 (labels only) and 1 (the teacher only)")
        if self.layers is not None and not self.is_from_teacher:
            raise UserError(
                f"--layers is for a student that is taken from its teacher, not for {self.student}",
                todo=f"drop --layers, or --student {FROM_TEACHER}",
            )

    @property
    def is_from_teacher(self) -> bool:
        """Whether the student starts as a part of the teacher."""
        return self.student in (FROM_TEACHER, SAME_FAMILY)
