"""How many bits each weight of an artifact got, for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from runtime.constants_digest import REST_ROLE
from runtime.manifest import ArtifactSpec, StoredWeight


def weights_line(artifact: ArtifactSpec) -> str:
    """One line: per role and precision the number of weights and their bits per element."""
    groups: dict[tuple[str, str], list[StoredWeight]] = {}
    for weight in artifact.weights.stored:
        if weight.role == REST_ROLE:
            continue
        groups.setdefault((weight.role, weight.precision), []).append(weight)
    parts = []
    for (role, precision), weights in sorted(groups.items()):
        bits = mean_bits(weights)
        exact = f" at {bits:.2f} bits" if bits is not None else ""
        zeros = "" if not any(w.sparsity for w in weights) else ", pruned"
        parts.append(f"{len(weights)} {role} {precision}{exact}{zeros}")
    return "; ".join(parts)


def mean_bits(weights: Iterable[StoredWeight]) -> float | None:
    """Bits per element over several weights; None where one of them is not known."""
    bits = elements = 0.0
    for weight in weights:
        if weight.bits is None:
            return None
        count = 1
        for axis in weight.shape:
            count *= axis
        bits += weight.bits * count
        elements += count
    return bits / elements if elements else None


def weights_table(artifact: ArtifactSpec) -> Table:
    """Every weight of at least 256 elements, and what is left as the last row."""
    table = Table(title=artifact.path, title_justify="left")
    for column in ("weight", "shape", "role", "precision", "zeros", "bits per element"):
        right = column in ("zeros", "bits per element")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for weight in artifact.weights.stored:
        table.add_row(
            weight.name,
            "×".join(map(str, weight.shape)),
            weight.role,
            weight.precision,
            f"{weight.sparsity:.0%}" if weight.sparsity else "",
            "" if weight.bits is None else f"{weight.bits:.3f}",
        )
    return table
