"""What a bundle's manifest and card say of the model that it was made from."""

from __future__ import annotations

from export.checkpoint import Checkpoint
from export.reference import Reference
from export.training.quantized.provenance import told_of_tuning
from export.training.record import TrainingRecord
from export.training.report.markdown import training_markdown
from runtime.manifest import SourceSpec


def source_spec(checkpoint: Checkpoint, reference: Reference) -> SourceSpec:
    """The model as the manifest tells it."""
    return SourceSpec(
        model=checkpoint.name,
        architecture=(
            checkpoint.family.classifier
            if reference.output == "logits"
            else type(reference.module.model.base_model).__name__
        ),
        family=checkpoint.family.name,
        revision=checkpoint.revision,
        sha256=checkpoint.weights_sha256(),
        parameters=sum(p.numel() for p in reference.module.parameters()),
    )


# Of the run's test split, for the manifest; training.html beside the checkpoint has the rest.
_TOLD = ("weighted_f1", "samples_f1", "hamming_score", "roc_auc", "ece")


def training_metrics(record: TrainingRecord | None) -> dict[str, float]:
    """Metrics of the run that made the checkpoint, where it was ours."""
    if record is None:
        return {}
    figures = record.evaluation.get("test", {}).get("figures", {})
    told = {name: figures[name] for name in _TOLD if figures.get(name) is not None}
    metrics = {f"test_{name}": value for name, value in (record.test | told).items()}
    baselines = {f"test_{name}_baseline": value for name, value in record.baseline_test.items()}
    return metrics | baselines


def told_of_training(record: TrainingRecord | None, smaller: str) -> str:
    """Markdown for the card: the run that made the model, its tuning, and what was left out since.

    Args:
        record: of the run, where it was ours.
        smaller: see `export.shrinking.report.shrinking_markdown`; may be empty.
    """
    parts = (training_markdown(record) if record else "", told_of_tuning(record), smaller)
    return "\n\n".join(part for part in parts if part)
