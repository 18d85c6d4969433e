"""What batches of like length save: ``python -m export.training.padding_benchmark --data …``.

The same model is trained from the same weights for the same number of steps: on texts filled up to
the maximum, on random batches and on batches of like length. The three take turns, so that whatever
else the machine does meets them alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from export.data import DataSettings, load_dataset
from export.data.task import TextDataset
from export.quiet import no_warnings
from export.settings import SMALL, FineTuneSettings
from export.training.batches import EpochBatches
from export.training.metrics import main_metric, metrics_of_logits
from export.training.model import starting_point
from export.training.objective import features_of, padding_of, task_loss
from export.training.padding import PaddedShares, PaddingMode, padded_shares
from export.training.predict import Collate, predict
from runtime.cli_support import run
from runtime.console import out, progress_bar
from runtime.errors import UserError

MODES: tuple[PaddingMode, ...] = ("to_maximum", "random", "grouped")


@dataclass(frozen=True, slots=True)
class ModeResult:
    """What one way of making batches took and gave.

    Attributes:
        wall, cpu: seconds of each epoch of each round. Only the second means something on a machine
            that is busy with other things.
        metric: on the validation split after the last epoch, of each round.
    """

    mode: PaddingMode
    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    metric: tuple[float, ...]


def compare(
    dataset: TextDataset,
    settings: FineTuneSettings,
    *,
    rounds: int,
    epochs: int,
    modes: tuple[PaddingMode, ...] = MODES,
) -> tuple[PaddedShares, tuple[ModeResult, ...]]:
    """Train every mode `rounds` times, taking turns.

    Args:
        dataset: with a training and a validation split.
        settings: model, lengths and hyper-parameters; round r has the seed plus r.
        rounds: how often.
        epochs: of each training.
        modes: ways of making batches to compare.

    Raises:
        UserError: no rounds or no modes.
    """
    walls: dict[PaddingMode, list[float]] = {mode: [] for mode in modes}
    cpus: dict[PaddingMode, list[float]] = {mode: [] for mode in modes}
    metrics: dict[PaddingMode, list[float]] = {mode: [] for mode in modes}
    shares: PaddedShares | None = None
    with progress_bar("trainings") as show:
        for number in range(rounds):
            chosen = replace(settings, seed=settings.seed + number)
            for turn in range(len(modes)):
                mode = modes[(turn + number) % len(modes)]
                one = Training(dataset, chosen, mode, epochs)
                for epoch in range(epochs):
                    began = time.perf_counter(), time.process_time()
                    one.epoch(epoch)
                    walls[mode].append(time.perf_counter() - began[0])
                    cpus[mode].append(time.process_time() - began[1])
                metrics[mode].append(one.metric())
                shares = shares or one.shares
                show(number * len(modes) + turn + 1, rounds * len(modes))
    if shares is None:
        raise UserError("there is nothing to compare in no rounds")
    return shares, tuple(
        ModeResult(mode, tuple(walls[mode]), tuple(cpus[mode]), tuple(metrics[mode]))
        for mode in modes
    )


class Training:
    """One training: the run's own batches, loss and optimizer, without what surrounds a run."""

    def __init__(
        self, dataset: TextDataset, settings: FineTuneSettings, mode: PaddingMode, epochs: int
    ) -> None:
        """Build the model and the batches; the seed decides both."""
        self._dataset = dataset
        start = starting_point(settings, dataset)
        self.model = start.model
        self._rows = features_of(dataset, settings, start)
        self._collate: Collate = padding_of(start, settings)
        self._loss = task_loss(dataset, settings)
        train = self._rows["train"]
        chosen = settings.effective
        self._batches = EpochBatches(
            len(train),
            chosen.batch_size,
            lengths=train.lengths if mode == "grouped" else None,
            seed=settings.seed,
        )
        self._longest = settings.max_length if mode == "to_maximum" else None
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            fused=True,
        )
        steps = max(1, len(self._batches) * epochs)
        warm = max(1, round(chosen.warmup_share * steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda s: min((s + 1) / warm, (steps - s) / max(1, steps - warm))
        )
        self.shares = padded_shares(
            train.lengths,
            batch_size=chosen.batch_size,
            max_length=settings.max_length,
            seed=settings.seed,
        )

    def batches(self, number: int) -> Iterator[dict[str, torch.Tensor]]:
        """The tensors of an epoch, labels among them."""
        self._batches.start_epoch(number)
        train = self._rows["train"]
        for indices in self._batches:
            rows: list[dict[str, Any]] = [train[index] for index in indices]
            if self._longest is None:
                yield self._collate(rows)
            else:
                # A row of full length beside them, taken away again, sets the length.
                full = rows[0] | {"input_ids": [0] * self._longest}
                padded = self._collate([*rows, full])
                yield {name: tensor[:-1] for name, tensor in padded.items()}

    def epoch(self, number: int) -> None:
        """Train on every text once."""
        model = self.model.train()
        for batch in self.batches(number):
            labels = batch.pop("labels")
            loss = self._loss(model(**batch)["logits"], labels)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad()

    def metric(self) -> float:
        """The task's main metric on the validation split."""
        split = self._dataset.splits["validation"]
        logits = predict(self.model, self._rows["validation"], self._collate)
        several = self._dataset.is_multi_label
        targets = torch.tensor(
            [self._rows["validation"][i]["labels"] for i in range(len(split))]
        ).numpy()
        return metrics_of_logits(logits, targets, multi_label=several)[
            main_metric(multi_label=several)
        ]


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="As for mobile-export finetune.")] = "sample:sentiment",
    model: Annotated[str, typer.Option(help="As for mobile-export finetune.")] = SMALL,
    rows: Annotated[int, typer.Option(min=32, help="Training texts, the first ones.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 3,
    max_length: Annotated[int, typer.Option(min=8, max=512)] = 128,
    maximum: Annotated[bool, typer.Option(help="Also pad to the maximum, which is slow.")] = True,
    seed: int = 13,
) -> None:
    """Train with each way of padding in turn; print time, padding and the metric."""
    dataset = load_dataset(DataSettings(source=data))
    first = {"train": dataset.splits["train"][:rows]}
    dataset = replace(dataset, splits=dataset.splits | first)
    settings = FineTuneSettings(model=model, max_length=max_length, seed=seed)
    modes = MODES if maximum else MODES[1:]
    shares, results = compare(dataset, settings, rounds=rounds, epochs=epochs, modes=modes)
    name = main_metric(multi_label=dataset.is_multi_label)
    table = Table(
        title=f"{dataset.name}: {len(first['train'])} texts, {rounds} trainings of {epochs} epochs",
        box=None,
        title_justify="left",
    )
    for column in ("batches", "padding", "wall s", "CPU s", "less CPU", name, "from-to"):
        table.add_column(column, justify="left" if column == "batches" else "right")
    most = median(results[0].cpu)
    for found in results:
        table.add_row(
            found.mode.replace("_", " "),
            f"{shares.share(found.mode):.1%}",
            f"{median(found.wall):.2f}",
            f"{median(found.cpu):.2f}",
            f"{most / median(found.cpu):.1f} x",
            f"{mean(found.metric):.4f}",
            f"{min(found.metric):.4f}-{max(found.metric):.4f}",
        )
    out.print(table)


if __name__ == "__main__":
    no_warnings()
    run(app)
