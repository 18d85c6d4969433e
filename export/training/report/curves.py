"""Training curves as a PNG: losses, the main metric with the baselines beside it, learning rate."""

from __future__ import annotations

import io
import logging
from typing import Any

from export.training.record import TrainingRecord
from export.training.report.words import BASELINE_NAMES, metric_words
from runtime.errors import MissingExtraError

_INK, _SOFT, _GRID = "#1c2128", "#57606a", "#d9dee4"
_TRAINING, _VALIDATION = "#2f6fde", "#d4690a"
_COLOURS = ("#0c8a86", "#8a4fd3", "#57606a")
_DPI = 110


def draw_curves(record: TrainingRecord) -> bytes:
    """The same record gives the same bytes: no clock and no setting of the user's goes in.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    # It tells about its font cache on standard error the first time.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib", extra="report", purpose="drawing the training curves"
        ) from error

    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault)):
        panels = [_losses, _metric, _rates]
        if any(epoch.terms for epoch in record.epochs):
            panels.insert(1, _terms)
        figure = Figure(figsize=(4.0 * len(panels), 3.6), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        for draw, axes in zip(panels, figure.subplots(1, len(panels)), strict=True):
            draw(axes, record)
            _plain(axes)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _losses(axes: Any, record: TrainingRecord) -> None:
    points = [(p.epoch, p.loss) for p in record.steps]
    numbers = [epoch.number for epoch in record.epochs]
    training = [epoch.training_loss for epoch in record.epochs]
    if points:
        axes.plot(*zip(*points, strict=True), color=_TRAINING, alpha=0.35, linewidth=1.2)
    axes.plot(numbers, training, "o-", color=_TRAINING, label="training", markersize=4)
    validation = [epoch.validation_loss for epoch in record.epochs]
    axes.plot(numbers, validation, "s-", color=_VALIDATION, label="validation", markersize=4)
    _best(axes, record, label="kept")
    axes.set_title("loss")
    axes.legend(frameon=False, fontsize=8)


def _terms(axes: Any, record: TrainingRecord) -> None:
    """Each part of the training loss, such as the distillation's."""
    names = dict.fromkeys(name for epoch in record.epochs for name in epoch.terms)
    for name, colour in zip(names, (_TRAINING, _VALIDATION, *_COLOURS), strict=False):
        points = [(e.number, e.terms[name]) for e in record.epochs if name in e.terms]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=4)
    _best(axes, record)
    axes.set_title("parts of the training loss")
    axes.legend(frameon=False, fontsize=8)


def _metric(axes: Any, record: TrainingRecord) -> None:
    name = record.metric_name
    values = [epoch.metric for epoch in record.epochs]
    numbers = [epoch.number for epoch in record.epochs]
    axes.plot(numbers, values, "s-", color=_VALIDATION, label="this model", markersize=4)
    for row, colour in zip(record.baselines, _COLOURS, strict=False):
        value = row["metrics"].get("validation", {}).get(name)
        if value is not None:
            words = BASELINE_NAMES.get(row["name"], row["name"])
            axes.axhline(value, color=colour, linestyle="--", linewidth=1.2, label=words)
    _best(axes, record)
    axes.set_title(f"validation {metric_words(record)}")
    axes.legend(frameon=False, fontsize=8)


def _rates(axes: Any, record: TrainingRecord) -> None:
    points = [(p.epoch, p.learning_rate) for p in record.steps]
    points = points or [(float(e.number), e.learning_rate) for e in record.epochs]
    axes.plot(*zip(*points, strict=True), color=_INK, linewidth=1.4)
    axes.set_title("learning rate")
    axes.set_ylim(bottom=0.0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))


def _best(axes: Any, record: TrainingRecord, label: str | None = None) -> None:
    axes.axvline(record.best_epoch, color=_SOFT, linestyle=":", linewidth=1.0, label=label)


def _plain(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", color=_SOFT, fontsize=9)
    axes.title.set_fontsize(10)
    axes.title.set_color(_INK)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_SOFT, labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)
