"""How long an emulated run will take, told before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.golden import Golden
from runtime.manifest import ArtifactSpec

# Measured with qemu 10.0 on a 2.6 GHz server core, for DistilBERT's 67 million parameters and for
# half a million: seconds for a start, for a run, and for a token and parameter.
_START = 6.0
_RUN = 0.06
_INT8, _FLOAT = 0.45e-9, 5e-9
# Cases that run again with another padding, length, batch …: how often, and at how many ids, as a
# share of the longest sequence.
_AGAIN, _TIMES, _SHARE = 16, 6, 2.5

_LARGE = 20_000_000
DEFAULT_LIMIT, LARGE_LIMIT = 300, 200


def default_limit(parameters: int) -> int:
    """Natural texts to run where nobody says: fewer for a full-size model.

    300 texts without a flip bound the flip rate at 1.0%, 200 at 1.5% (95%, one-sided).
    """
    return LARGE_LIMIT if parameters > _LARGE else DEFAULT_LIMIT


def estimated_seconds(
    artifact: ArtifactSpec, golden: Golden, rows: Sequence[int], parameters: int, jobs: int
) -> float:
    """Seconds on one emulated processor, give or take a factor of two, on an idle machine.

    Args:
        artifact: int8 weights are taken to compute in int8.
        golden: for the texts' lengths.
        rows: cases that will run.
        parameters: of the model.
        jobs: emulators at a time, each on a core of its own.
    """
    sizes = [len(golden.cases[row].input_ids) for row in rows]
    if artifact.lengths:
        sizes = [min(n for n in artifact.lengths if n >= size) for size in sizes]
    tokens = sum(sizes) + jobs * _AGAIN * _SHARE * max(sizes, default=0)
    runs = len(rows) + jobs * _AGAIN * _TIMES
    rate = _INT8 if "int8" in artifact.precision else _FLOAT
    return _START + (runs * _RUN + tokens * parameters * rate) / jobs
