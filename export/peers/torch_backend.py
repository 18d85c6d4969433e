"""Runs a checkpoint in PyTorch, eagerly, as a Python server would."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int32]
Fed = dict[str, torch.Tensor]


def load_library() -> None:
    """Import what a model needs; `torch` is there already."""
    # By name: the package itself imports next to nothing until it is asked for something. Every
    # model's own file imports the second one.
    from transformers import AutoModelForSequenceClassification  # noqa: F401


def open_model(settings: dict[str, Any]) -> TorchModel:
    """Open ``settings["checkpoint"]``; ``settings["quantize"]`` makes its linears dynamic int8."""
    return TorchModel(
        settings["checkpoint"], settings["threads"], quantize=settings.get("quantize", False)
    )


class TorchModel:
    """See `runtime.bench.worker.Model`."""

    lengths: list[int] | None = None

    def __init__(self, checkpoint: str, threads: int, *, quantize: bool) -> None:
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(threads)
        model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
        if quantize:
            quantization: Any = torch.ao.quantization
            model = quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        self._model = model
        self.environment = {"runtime": "torch", "version": str(torch.__version__)}

    def feed(self, input_ids: Ids, attention_mask: Ids) -> Fed:
        """See `runtime.bench.worker.Model`."""
        return {
            "input_ids": torch.from_numpy(input_ids.astype(np.int64)),
            "attention_mask": torch.from_numpy(attention_mask.astype(np.int64)),
        }

    def run(self, fed: Fed) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        with torch.inference_mode():
            return np.asarray(self._model(**fed).logits.numpy())
