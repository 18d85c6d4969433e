"""How long one text takes, the same way for the baselines and the transformer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits

_TIMED_TEXTS = 50


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch and BLAS to one thread, so that figures do not hang on the cores that are free."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


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
