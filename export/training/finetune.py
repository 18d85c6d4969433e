"""Fine-tune with transformers' Trainer and write a checkpoint folder, atomically."""

from __future__ import annotations

import math
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from export.data.task import TextDataset
from export.publish import publish_folder, staging_folder
from export.settings import FineTuneSettings
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.baseline import bag_of_words_metrics
from export.training.features import Features, PadToLongest
from export.training.metrics import main_metric, metrics_of_logits
from export.training.model import Start, starting_point
from runtime.console import note, progress_bar
from runtime.errors import UserError
from runtime.files import canonical_json

if TYPE_CHECKING:
    from transformers import EvalPrediction, TrainerControl, TrainerState, TrainingArguments

# Written last: a folder without it is not a finished run.
RUN_FILE = "training.json"


def is_run(path: Path) -> bool:
    """Whether a folder holds a finished run, which a new one may replace."""
    return (path / RUN_FILE).is_file()


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the table.

    Attributes:
        seconds: wall time of training and validation.
        metric: main metric on the validation split.
    """

    number: int
    training_loss: float
    validation_loss: float
    metric: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A finished run.

    Attributes:
        checkpoint: folder with the best epoch's weights.
        metric_name: accuracy or micro_f1.
        baseline: bag-of-words on the validation split, the same metric.
    """

    checkpoint: Path
    epochs: tuple[Epoch, ...]
    best: int
    metric_name: str
    validation: dict[str, float]
    test: dict[str, float]
    baseline: float
    baseline_test: float
    parameters: int
    seconds: float


class _KeepBest(transformers.TrainerCallback):  # type: ignore[misc]
    """Times epochs, stops on a loss that is no number, and keeps the best weights in memory.

    In memory, because Trainer's own checkpoints hold pickles.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.epochs: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch = 0
        self._loss = math.nan
        self._began = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._loss = logs["loss"]
            if not math.isfinite(self._loss):
                raise UserError(
                    f"the training loss is {self._loss} in epoch {math.ceil(state.epoch or 1)}",
                    why="the learning rate is too high for this model, or the weights are broken",
                    todo="try a tenth of the learning rate: --learning-rate",
                )

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        model: torch.nn.Module,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        score = metrics[f"eval_{self.metric}"]
        loss = metrics["eval_loss"]
        seconds = time.monotonic() - self._began
        best = max(self.epochs, key=_rank, default=None)
        row = Epoch(len(self.epochs) + 1, self._loss, loss, score, seconds)
        self.epochs.append(row)
        note(
            f"  epoch {row.number}: training loss {self._loss:.4f}, validation loss {loss:.4f}, "
            f"{self.metric} {score:.4f}, {seconds:.1f} s"
        )
        if best is None or _rank(row) > _rank(best):
            self.best_epoch = row.number
            self.best = {k: v.detach().clone() for k, v in model.state_dict().items()}


class _ShowProgress(transformers.TrainerCallback):  # type: ignore[misc]
    """Steps with the time left, in place of Trainer's bars and dictionaries."""

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self._show = show

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self._show(state.global_step, state.max_steps)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.metric, -epoch.validation_loss


def fine_tune(
    dataset: TextDataset,
    settings: FineTuneSettings,
    destination: Path,
) -> FineTuned:
    """Train, keep the best epoch and write the checkpoint.

    Args:
        dataset: with the splits train, validation and test.
        settings: model, hyper-parameters, seed.
        destination: the checkpoint's folder; replaced as a whole once training is done.

    Raises:
        UserError: the model cannot be had, or the loss is no longer a number.
    """
    began = time.monotonic()
    start = starting_point(settings, dataset)
    spec = describe_tokenizer(start.tokenizer, settings.max_length)
    with staging_folder(destination) as staging, tempfile.TemporaryDirectory() as scratch:
        keeper = _KeepBest(main_metric(multi_label=dataset.is_multi_label))
        trainer = _trainer(dataset, settings, start, keeper, Path(scratch), spec.pad_id)
        with progress_bar("steps") as show:
            trainer.add_callback(_ShowProgress(show))
            trainer.train()
        start.model.load_state_dict(keeper.best)
        baseline = bag_of_words_metrics(dataset, ("validation", "test"))
        result = FineTuned(
            checkpoint=destination,
            epochs=tuple(keeper.epochs),
            best=keeper.best_epoch,
            metric_name=keeper.metric,
            validation=_scores(trainer, trainer.eval_dataset),
            test=_scores(trainer, _features(dataset, "test", settings, start)),
            baseline=baseline["validation"],
            baseline_test=baseline["test"],
            parameters=sum(p.numel() for p in start.model.parameters()),
            seconds=time.monotonic() - began,
        )
        start.model.save_pretrained(staging)
        write_tokenizer(start.tokenizer, spec, staging)
        record = _record(dataset, settings, start, result)
        (staging / RUN_FILE).write_text(canonical_json(record), encoding="utf-8")
        publish_folder(staging, destination, is_ours=is_run)
    return result


def _features(
    dataset: TextDataset, split: str, settings: FineTuneSettings, start: Start
) -> Features:
    return Features(
        dataset.splits[split],
        start.tokenizer,
        max_length=settings.max_length,
        labels=len(dataset.labels),
        multi_label=dataset.is_multi_label,
    )


def _trainer(
    dataset: TextDataset,
    settings: FineTuneSettings,
    start: Start,
    keeper: _KeepBest,
    scratch: Path,
    pad_id: int,
) -> transformers.Trainer:
    chosen = settings.effective
    steps = math.ceil(len(dataset.splits["train"]) / chosen.batch_size) * chosen.epochs

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        return metrics_of_logits(
            prediction.predictions, prediction.label_ids, multi_label=dataset.is_multi_label
        )

    arguments = transformers.TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=chosen.epochs,
        per_device_train_batch_size=chosen.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        warmup_steps=math.ceil(chosen.warmup_share * steps),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length" if chosen.group_by_length else "random",
        label_smoothing_factor=0.0 if dataset.is_multi_label else chosen.label_smoothing,
        eval_strategy="epoch",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        seed=settings.seed,
        data_seed=settings.seed,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        log_level="error",
        remove_unused_columns=False,
    )
    trainer = transformers.Trainer(
        model=start.model,
        args=arguments,
        train_dataset=_features(dataset, "train", settings, start),
        eval_dataset=_features(dataset, "validation", settings, start),
        data_collator=PadToLongest(pad_id),
        compute_metrics=compute_metrics,
        callbacks=[keeper],
    )
    # The table at the end says it better than a dictionary per epoch.
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _scores(trainer: transformers.Trainer, features: Features) -> dict[str, float]:
    metrics = trainer.predict(features, metric_key_prefix="x").metrics or {}
    wanted = ("accuracy", "macro_f1", "micro_f1", "exact_match")
    return {name: metrics[f"x_{name}"] for name in wanted if f"x_{name}" in metrics}


def _record(
    dataset: TextDataset, settings: FineTuneSettings, start: Start, result: FineTuned
) -> dict[str, Any]:
    """What a reader needs in order to repeat the run."""
    return {
        "schema_version": 1,
        "model": start.name,
        "revision": start.revision,
        "data": {"name": dataset.name, "sha256": dataset.sha256()},
        "settings": asdict(settings) | {"hyperparameters": asdict(settings.effective)},
        "epochs": [asdict(epoch) for epoch in result.epochs],
        "best_epoch": result.best,
        "validation": result.validation,
        "test": result.test,
        "bag_of_words": {"validation": result.baseline, "test": result.baseline_test},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
