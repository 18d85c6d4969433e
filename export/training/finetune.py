"""Fine-tune and write a checkpoint folder, atomically; an interrupted run goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from export.data.task import TextDataset
from export.data.token_lengths import describe_lengths
from export.publish import check_destination
from export.settings import FineTuneSettings
from export.training.arguments import device_name, resolve_precision
from export.training.carry_out import carry_out
from export.training.conclude import FineTuned, Trained, conclude, targets_of
from export.training.metrics import main_metric, metrics_of_logits
from export.training.objective import Objective, Prepare, task_loss, whole
from export.training.padding import PaddingMode, padded_shares
from export.training.predict import predict
from export.training.processes import World, world
from export.training.record import RUN_FILE, is_run
from export.training.resume import RunFolder, run_folder
from export.training.trainer import summed
from runtime.console import err, note

__all__ = ["RUN_FILE", "FineTuned", "assist", "fine_tune", "is_run"]


def fine_tune(
    dataset: TextDataset,
    settings: FineTuneSettings,
    destination: Path,
    *,
    prepare: Prepare | None = None,
) -> FineTuned:
    """Train, keep the best epoch and write the checkpoint.

    Until then the run works in the folder ``DESTINATION.run``. Where it holds checkpoints of an
    interrupted run of the same data and settings, that run is continued, and ends as if nothing had
    interrupted it. Of several processes, the one with rank 0 calls this, the others `assist`.

    Args:
        dataset: with the splits train, validation and test.
        settings: model, hyper-parameters, seed.
        destination: the checkpoint's folder; replaced as a whole once training is done.
        prepare: what to train; by default what the settings' tuning says.

    Raises:
        UserError: the model cannot be had, the loss is no longer a number, or the run's folder
            holds another run.
    """
    began = time.monotonic()
    check_destination(destination, is_ours=is_run)
    run = RunFolder(run_folder(destination))
    with run.locked():
        try:
            trained = _train(dataset, settings, destination, run, prepare)
            result = conclude(dataset, settings, trained, destination, began=began)
            run.remove()
        finally:
            run.close()
    return result


def assist(
    dataset: TextDataset,
    settings: FineTuneSettings,
    destination: Path,
    *,
    prepare: Prepare | None = None,
) -> None:
    """What all processes but the first do: train with it. They print and write nothing.

    Raises:
        UserError: as `fine_tune`, and this process's data or weights are other than the first's.
    """
    quiet, err.quiet = err.quiet, True
    try:
        _train(dataset, settings, destination, RunFolder(run_folder(destination)), prepare)
    finally:
        err.quiet = quiet


def _prepare(settings: FineTuneSettings) -> Prepare:
    if settings.tuning == "head":
        from export.training import heads

        return heads.prepare
    return whole


def _train(
    dataset: TextDataset,
    settings: FineTuneSettings,
    destination: Path,
    run: RunFolder,
    prepare: Prepare | None,
) -> Trained:
    processes = world()
    objective = (prepare or _prepare(settings))(dataset, settings, destination)
    padding = _describe(dataset, settings, objective)
    metric = main_metric(multi_label=dataset.is_multi_label)
    history = carry_out(
        objective,
        settings,
        run,
        metric=metric,
        evaluate=_Score(dataset, settings, objective, processes),
        identity={"data_sha256": dataset.sha256()},
    )
    return Trained(
        objective=objective,
        history=history,
        metric_name=metric,
        precision=resolve_precision(settings.precision),
        device=device_name(),
        processes=processes.size,
        padding=padding,
    )


def _describe(
    dataset: TextDataset, settings: FineTuneSettings, objective: Objective
) -> dict[str, object]:
    """Say what the tokenizer makes of the texts; returns the record's ``padding``."""
    describe_lengths(dataset, objective.start.tokenizer, settings.max_length)
    if not objective.lengths:
        return {}
    shares = padded_shares(
        objective.lengths,
        batch_size=settings.effective.batch_size,
        max_length=settings.max_length,
        seed=settings.seed,
    )
    mode: PaddingMode = "grouped" if settings.effective.group_by_length else "random"
    note(f"  {shares.sentence(mode)}")
    return {"mode": mode, "padded_share": shares.share(mode)}


class _Score:
    """Validation by all processes together."""

    def __init__(
        self,
        dataset: TextDataset,
        settings: FineTuneSettings,
        objective: Objective,
        processes: World,
    ) -> None:
        self._rows = objective.datasets["validation"]
        self._targets = targets_of(self._rows)
        self._collate = objective.collate
        self._loss = task_loss(dataset, settings)
        self._multi_label = dataset.is_multi_label
        self._processes = processes

    def __call__(self, module: torch.nn.Module) -> dict[str, float]:
        share = (self._processes.rank, self._processes.size)
        logits = torch.from_numpy(predict(module, self._rows, self._collate, share=share))
        logits = logits.to(next(module.parameters()).device)
        logits = summed(logits, self._processes.size).cpu()
        loss = self._loss(logits, torch.from_numpy(self._targets)).item()
        scores = metrics_of_logits(logits.numpy(), self._targets, multi_label=self._multi_label)
        return {"loss": loss} | scores
