"""How long one text takes, the same way for the baselines and the transformer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from export.threads import one_thread

_TIMED_TEXTS = 50


def milliseconds_per_text(predict: Callable[[str], object], texts: Sequence[str]) -> float:
    """Median wall time of `predict` over at most 50 texts, one after the other, on one thread.

    Args:
        predict: from a text to its logits.
        texts: at least one; the first one warms up as well.
    """
    times = []
    with one_thread():
        predict(texts[0])
        for text in texts[:_TIMED_TEXTS]:
            began = time.perf_counter()
            predict(text)
            times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))
