"""What a job asks of this target, checked: which settings go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.targets.base import Job, check_lengths
from runtime.errors import UserError

# Name → allowed values, the default first; `Job.options` holds one value for each.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "deployment_target": ("iOS16", "iOS17", "iOS18"),
    "compute_precision": ("float16", "float32"),
    "shapes": ("fixed", "enumerated", "range"),
    "layout": ("default", "ane"),
    "outputs": ("logits", "classifier"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """The target's settings for one artifact.

    Attributes:
        deployment_target: oldest system that runs it: ``iOS16`` (also macOS 13), ``iOS17`` or
            ``iOS18``, which has fused attention and several fixed lengths.
        compute_precision: ``float16`` or ``float32``, of weights and of arithmetic.
        shapes: ``fixed`` (the longest length alone), ``enumerated`` (each length) or ``range``
            (every length from 1 to the longest).
        layout: ``default`` ([batch, length, channels], matrix products) or ``ane`` ([batch,
            channels, 1, length], 1×1 convolutions, what Apple's Neural Engine is said to prefer),
            which MobileBERT and XLNet do not have.
        outputs: ``logits``, or ``classifier`` for label and probabilities as well.
        lengths: sequence lengths the artifact gets, ascending; for a range the longest alone.
    """

    deployment_target: str
    compute_precision: str
    shapes: str
    layout: str
    outputs: str
    lengths: tuple[int, ...]

    @property
    def fixed(self) -> bool:
        """Whether every axis is known when the program is made."""
        return self.shapes == "fixed" or (self.shapes == "enumerated" and len(self.lengths) == 1)

    @property
    def fused_attention(self) -> bool:
        """Whether attention is one operation: iOS 18 has it, the other layout has no use for it."""
        return self.deployment_target == "iOS18" and self.layout == "default"


def options_of(job: Job) -> Options:
    """Read a job's options.

    Raises:
        UserError: settings that Core ML cannot combine, or lengths that the model does not have.
    """
    check_lengths(job.source.lengths, job.source.reference.max_positions)
    return check_options(job.options, job.source.lengths)


def check_options(given: Mapping[str, str], lengths: tuple[int, ...]) -> Options:
    """Whether options go together.

    Args:
        given: option → value; the default for one that is missing.
        lengths: ascending, not empty.

    Raises:
        UserError: they do not; says what to choose instead.
    """
    chosen = {name: given.get(name, allowed[0]) for name, allowed in OPTIONS.items()}
    options = Options(
        **chosen, lengths=lengths if chosen["shapes"] == "enumerated" else lengths[-1:]
    )
    if options.shapes == "enumerated" and not options.fixed:
        _check_enumerated(options)
    if options.shapes == "range" and options.layout == "ane":
        raise UserError(
            "the layout ane needs lengths that are known when the package is made",
            why="the Neural Engine runs no range of lengths",
            todo="choose the shapes fixed or enumerated, or the layout default",
        )
    return options


def _check_enumerated(options: Options) -> None:
    if options.deployment_target != "iOS18":
        raise UserError(
            f"{options.deployment_target} cannot enumerate the lengths of two inputs",
            why="Core ML allows it from iOS 18 on",
            todo="choose the deployment target iOS18, or the shapes fixed or range",
        )
