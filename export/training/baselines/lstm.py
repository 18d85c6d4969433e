"""A small bidirectional LSTM over words, trained from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from export.data.task import TextDataset
from export.threads import one_thread
from export.training.baselines.targets import label_matrix
from export.training.baselines.words import PAD, Words
from export.training.metrics import main_metric, metrics_of_logits
from runtime.console import progress_bar

_MOST_WORDS = 20_000
_LONGEST = 128
_EMBEDDING, _HIDDEN = 64, 64
_DROPOUT = 0.3
_BATCH = 64
_RATE = 6e-3
_PATIENCE = 3
# Passes over large and small data; in between so many that about half a million words are read,
# which takes one core some 10 seconds.
_EPOCHS = (6, 12)
_WORDS = 500_000
_SPLITS = ("train", "validation")


class _Network(nn.Module):
    """Embedding → bidirectional LSTM → maximum and mean over the words → linear."""

    def __init__(self, words: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, _EMBEDDING, padding_idx=PAD)
        self.forwards = nn.LSTM(_EMBEDDING, _HIDDEN, batch_first=True)
        self.backwards = nn.LSTM(_EMBEDDING, _HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(4 * _HIDDEN, labels)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Ids [texts, longest], padded on the right, and lengths [texts] → logits [texts, labels].

        Each direction reads a text's own words first, so padding changes nothing. PyTorch's packed
        sequences do the same and take twice the time on a CPU.
        """
        embedded = self.dropout(self.embedding(ids))
        place = torch.arange(ids.shape[1])[None, :]
        inside = place < lengths[:, None]
        mirror = torch.where(inside, lengths[:, None] - 1 - place, place)[:, :, None]
        there = self.forwards(embedded)[0]
        back = self.backwards(embedded.gather(1, mirror.expand_as(embedded)))[0]
        back = back.gather(1, mirror.expand_as(back))
        states, inside = torch.cat([there, back], dim=2), inside[:, :, None]
        top = states.masked_fill(~inside, -math.inf).max(dim=1).values
        mean = (states * inside).sum(dim=1) / lengths[:, None]
        logits: torch.Tensor = self.head(self.dropout(torch.cat([top, mean], dim=1)))
        return logits


class Lstm:
    """Seeded; keeps the epoch with the best main metric on validation, as the transformer does."""

    name = "lstm"

    def __init__(
        self,
        dataset: TextDataset,
        *,
        seed: int,
        class_weights: Sequence[float] | None,
        seconds: float,
    ) -> None:
        self._multi_label = dataset.is_multi_label
        self._labels = len(dataset.labels)
        self._seed = seed
        self._seconds = seconds
        weights = None if class_weights is None else torch.tensor([*class_weights]).float()
        self._loss: nn.Module = (
            nn.BCEWithLogitsLoss(pos_weight=weights)
            if self._multi_label
            else nn.CrossEntropyLoss(weight=weights)
        )
        self._epochs = 0
        self._best = 0
        self._ended = "epochs"

    def fit(self, dataset: TextDataset) -> None:
        """Train on the training split; the caller's random numbers stay as they are."""
        rows = dataset.splits["train"]
        self._words = Words((row.text for row in rows), most=_MOST_WORDS)
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(self._seed)
            self._network = _Network(len(self._words), self._labels)
            self._train(dataset)

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """float64 [texts, labels]."""
        ids = self._ids(texts)
        self._network.eval()
        out = np.empty((len(ids), self._labels))
        # Texts of like length together, so that little time goes into padding.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        with torch.inference_mode():
            for start in range(0, len(order), 256):
                part = order[start : start + 256]
                out[part] = self._network(*_batch([ids[i] for i in part])).double().numpy()
        return out

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.numel() for weight in self._network.parameters())

    @property
    def bytes(self) -> int:
        """Weights in float32, and the words."""
        return 4 * self.parameters + self._words.bytes

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader needs in order to repeat it."""
        return {
            "words": len(self._words),
            "longest": _LONGEST,
            "embedding": _EMBEDDING,
            "hidden": f"2 x {_HIDDEN}",
            "dropout": _DROPOUT,
            "batch_size": _BATCH,
            "learning_rate": _RATE,
            "seed": self._seed,
            "epochs": self._epochs,
            "best_epoch": self._best,
            "ended_by": self._ended,
        }

    def _train(self, dataset: TextDataset) -> None:
        began = time.monotonic()
        ids = {name: self._ids([e.text for e in dataset.splits[name]]) for name in _SPLITS}
        truth = {
            name: self._targets(label_matrix(dataset.splits[name], self._labels))
            for name in _SPLITS
        }
        few, many = _EPOCHS
        epochs = min(max(_WORDS // sum(map(len, ids["train"])), few), many)
        steps = math.ceil(len(ids["train"]) / _BATCH)
        optimiser = torch.optim.Adam(self._network.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimiser, start_factor=1.0, end_factor=0.1, total_iters=epochs * steps
        )
        best, kept = (-1.0, 0.0), self._network.state_dict()
        texts = [e.text for e in dataset.splits["validation"]]
        with progress_bar("LSTM") as show:
            for epoch in range(1, epochs + 1):
                self._network.train()
                for step, part in enumerate(_shuffled(ids["train"])):
                    optimiser.zero_grad()
                    logits = self._network(*_batch([ids["train"][i] for i in part]))
                    self._loss(logits, truth["train"][part]).backward()
                    nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
                    optimiser.step()
                    schedule.step()
                    show((epoch - 1) * steps + step + 1, epochs * steps)
                self._epochs = epoch
                score = self._score(self.logits(texts), truth["validation"])
                if score > best:
                    best, self._best = score, epoch
                    kept = {k: v.clone() for k, v in self._network.state_dict().items()}
                elif epoch - self._best >= _PATIENCE:
                    self._ended = "patience"
                    break
                used = time.monotonic() - began
                if epoch < epochs and used + used / epoch > self._seconds:
                    self._ended = "time"
                    break
        self._network.load_state_dict(kept)

    def _score(self, logits: npt.NDArray[np.float64], truth: torch.Tensor) -> tuple[float, float]:
        values = torch.from_numpy(logits).float()
        metrics = metrics_of_logits(values.numpy(), truth.numpy(), multi_label=self._multi_label)
        return metrics[main_metric(multi_label=self._multi_label)], -float(
            self._loss(values, truth)
        )

    def _targets(self, matrix: npt.NDArray[np.bool_]) -> torch.Tensor:
        if self._multi_label:
            return torch.from_numpy(matrix).float()
        return torch.from_numpy(matrix.argmax(axis=1))

    def _ids(self, texts: Sequence[str]) -> list[torch.Tensor]:
        return [torch.tensor(self._words.ids(text, _LONGEST)) for text in texts]


def _batch(ids: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = pad_sequence(list(ids), batch_first=True, padding_value=PAD)
    return padded, torch.tensor([len(row) for row in ids])


def _shuffled(ids: Sequence[torch.Tensor]) -> Iterator[list[int]]:
    """Batches in random order: shuffled, sorted by length 20 batches at a time."""
    order = torch.randperm(len(ids)).tolist()
    batches = []
    for start in range(0, len(order), 20 * _BATCH):
        part = sorted(order[start : start + 20 * _BATCH], key=lambda i: len(ids[i]))
        batches += [part[i : i + _BATCH] for i in range(0, len(part), _BATCH)]
    for index in torch.randperm(len(batches)).tolist():
        yield batches[index]
