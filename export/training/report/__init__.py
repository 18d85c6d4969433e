"""What a training run came to, as pictures and as a page."""

from __future__ import annotations

from export.training.report.write import CURVES, PAGE, write_training_report

__all__ = ["CURVES", "PAGE", "write_training_report"]
