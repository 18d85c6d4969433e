"""What the transformer has to beat: a bag of words and a small LSTM, on the same splits."""

from __future__ import annotations

from export.training.baselines.result import BaselineResult
from export.training.baselines.run import BASELINES, run_baselines

__all__ = ["BASELINES", "BaselineResult", "run_baselines"]
