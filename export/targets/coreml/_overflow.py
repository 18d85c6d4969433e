"""Does a float16 package stay within float16? Run where it was made, before anybody gets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.targets.base import Job
from export.targets.coreml._calibrate import inputs_of
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.errors import UserError

# Texts that are tried: the longest, which have most to add up.
_TEXTS = 3


def check_range(package: Path, job: Job) -> None:
    """Run a float16 package on a few texts, each operation rounded once to its declared type.

    MobileBERT, which has no norm that divides by anything, is known to leave float16's range:
    transformers' own test expects -2.5e7 among the first position's hidden states of
    google/mobilebert-uncased. A device would then answer with a wrong label or with NaN. The gate
    sees that too, but cannot say why.

    Args:
        package: of the compute precision float16.
        job: its calibration texts are tried, or where there are none, seeded ids.

    Raises:
        UserError: a value is infinite or no number; names the first.
    """
    read = read_package(package)
    executor = Executor(read, ExecutorSettings(mode="f16"))
    for ids in _texts(job):
        executor.run(inputs_of(read, ids, job.source))
        if executor.non_finite:
            raise UserError(
                f"this {job.source.reference.family.title} does not fit into float16",
                why=f"{executor.non_finite[0]} leaves its range of 65504 on a text of "
                f"{len(ids)} ids, and a device would answer with nonsense",
                todo="export with RECIPE=float32, or, for a quarter of its size, with RECIPE=int8 "
                "COMPUTE_PRECISION=float32",
            )


def _texts(job: Job) -> list[tuple[int, ...]]:
    longest = job.source.lengths[-1]
    texts = [ids for ids in job.source.calibration if len(ids) <= longest]
    if texts:
        return sorted(texts, key=len)[-_TEXTS:]
    random = np.random.default_rng(0)
    return [tuple(random.integers(0, job.source.reference.vocab_size, longest).tolist())]
