"""What a tuning for a recipe is asked to do, as a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field

from export.recipes import Recipe, recipes
from export.settings import FineTuneSettings, Hyperparameters
from runtime.errors import UserError

# Narrow models want larger steps, see `export.training.distill.hyperparameters`.
_NARROW = 384
STEPS, ROUNDS = 300, 5
# The entry of training.json that tells of a tuning.
ENTRY = "quantization"


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """One tuning.

    Attributes:
        model: a fine-tuned checkpoint's folder or hub name; its answers teach.
        recipe: whose rounding the model gets used to.
        steps: of the optimiser, in `training`'s epochs: the weights are judged after each.
        alpha: weight of the teacher's answers; the labels have the rest.
        temperature: T of the soft targets.
        limit: most texts of the validation and of the test split.
        training: optimiser, length, seed and so on; its `model` is not looked at.
    """

    model: str
    recipe: Recipe
    steps: int = STEPS
    alpha: float = 0.9
    temperature: float = 2.0
    limit: int = 2000
    training: FineTuneSettings = field(default_factory=FineTuneSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: a value out of its range.
        """
        chosen = self.training.hyperparameters
        epochs = chosen.epochs if chosen is not None else ROUNDS
        if self.steps < epochs:
            raise UserError(
                f"{self.steps} steps cannot be judged {epochs} times",
                todo="take more steps: --steps 300, or fewer --epochs",
            )
        if not 0.0 < self.temperature < float("inf"):
            raise UserError("the temperature must be above 0", todo="try 1 to 4")
        if not 0.0 <= self.alpha <= 1.0:
            raise UserError("alpha must lie between 0 (labels only) and 1 (the teacher only)")
        if self.limit < 1:
            raise UserError("the limit must be at least one text")

    @property
    def round_texts(self) -> int:
        """Texts between two judgements, some of them twice where the data are few."""
        chosen = self.training.effective
        return -(-self.steps // chosen.epochs) * chosen.batch_size * chosen.accumulation


def suitable_for(model: str) -> Hyperparameters:
    """As `suitable`, by a checkpoint's configuration.

    Raises:
        UserError: it cannot be had.
    """
    from export.training.distill.teacher import peek

    _, config = peek(model)
    return suitable(int(config.hidden_size))


def suitable(width: int) -> Hyperparameters:
    """Settings of the optimiser by the model's width, where the user names none.

    No weight decay: it would move rows that no text touches off the values that they had.
    """
    narrow = width < _NARROW
    return Hyperparameters(
        epochs=ROUNDS,
        batch_size=32 if narrow else 16,
        learning_rate=2e-4 if narrow else 2e-5,
        weight_decay=0.0,
        warmup_share=0.1,
    )


def find_recipe(target: str, name: str) -> Recipe:
    """A recipe by its target's name and its own.

    Raises:
        UserError: there is none; the known ones are listed.
    """
    known = recipes(target)
    if name not in known:
        raise UserError(
            f"there is no recipe {name!r} for the target {target!r}",
            todo=f"choose one of: {', '.join(known)}" if known else "choose onnx or tflite",
        )
    return known[name]
