"""How far a sound artifact's tensors are from the reference's, and how far they may be.

Differences are norms, relative to the point's own (`runtime.trace`). Observed: the worst point of
all default recipes over the tiny test model, the small default on the sentiment sample and on
toxic_comments (6 labels), and the full size (66M) on uci_news, at every length; `EXACT` over all
Core ML recipes on toxic_comments and over ONNX's on all of these. AVX-512 VNNI, one thread,
onnxruntime 1.31.1, LiteRT 2.3.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.manifest import ArtifactSpec
from runtime.trace import TracePoint

BUDGETS_VERSION = 1


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits of one precision, each beside what was observed.

    Attributes:
        point, point_observed: of a tensor inside.
        taps, taps_observed: of the logits, by having been looked into; relative to their size.
        query, query_observed: of queries before they are scaled, where that is more: a scale that
            is not a number of float16 is made up for in the weights that the reference computes
            with.
    """

    point: float
    point_observed: float
    taps: float
    taps_observed: float
    query: float = 0.0
    query_observed: float = 0.0

    def of(self, point: TracePoint) -> float:
        """The limit of one point."""
        return max(self.point, self.query) if _is_query(point) else self.point

    def observed(self, point: TracePoint) -> float:
        """The most that a sound artifact had at one point."""
        return max(self.point_observed, self.query_observed * _is_query(point))


def _is_query(point: TracePoint) -> bool:
    return ".q_lin" in point.name or ".attention.products" in point.name


# Weights of the artifact itself in the reference, every activation in float32. A runtime that joins
# operations moves the logits by being looked into; ours for Core ML does not.
EXACT = Budgets(2e-5, 1e-6, taps=2e-5, taps_observed=4.0e-7, query=5e-4, query_observed=1.2e-4)

_FLOAT32 = Budgets(point=2e-5, point_observed=1.5e-6, taps=2e-5, taps_observed=4.1e-7)
_FLOAT16 = Budgets(point=5e-3, point_observed=1.4e-3, taps=0.0, taps_observed=0.0)
_INT8 = Budgets(point=0.05, point_observed=0.028, taps=0.01, taps_observed=0.0)


def budgets_of(artifact: ArtifactSpec) -> Budgets | None:
    """Limits for an artifact; None where its weights are too coarse to tell right from wrong."""
    sparse = any(weight.sparsity > 0 for weight in artifact.weights.stored)
    known = {"float32": _FLOAT32, "float16": _FLOAT16, "int8": _INT8}
    return None if sparse else known.get(artifact.precision)
