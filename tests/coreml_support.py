"""What the Core ML tests share: a small model, the job of exporting it, logits both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.recipes import Recipe, WeightsRule
from export.reference import reference_from_model
from export.targets.base import ArtifactMetadata, Job, Source
from export.targets.coreml import OPTIONS
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.manifest import TaskSpec

from support import seeded_classifier

LENGTHS = (8, 16, 32)
CONTRACT = "c0" * 32


def lively_classifier(seed: int = 3, **sizes: int) -> Any:
    """A small DistilBERT whose logits depend on every parameter."""
    # Heads 8 wide: 8^-0.5 is no number that float16 has.
    model = seeded_classifier(seed, **({"dim": 32, "n_heads": 4, "hidden_dim": 48} | sizes))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.2)
        model.classifier.weight.mul_(4.0)
    return model.eval()


def coreml_job(
    model: Any = None,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    labels: tuple[str, ...] | None = None,
    kind: Any = "single_label",
    scratch: Path = Path("unused"),
    **options: str,
) -> Job:
    """The job of converting a model in float, with these options and otherwise the defaults."""
    reference = reference_from_model(model if model is not None else lively_classifier())
    names = labels or tuple(f"label {number}" for number in range(reference.labels))
    many = kind == "multi_label"
    task = TaskSpec(
        kind=kind,
        activation="sigmoid" if many else "softmax",
        labels=names,
        thresholds=(0.25,) * len(names) if many else None,
    )
    chosen = {name: allowed[0] for name, allowed in OPTIONS.items()} | options
    rule = WeightsRule(chosen["compute_precision"], "none", "none")
    recipe = Recipe(
        target="coreml",
        name=rule.precision,
        version=4,
        precision=rule.precision,
        file="model.mlpackage",
        summary="",
        linear=rule,
        embedding=rule,
        gate={},
        observed={},
    )
    metadata = ArtifactMetadata(
        name="weather",
        description="Tells the weather",
        author="Ada L.",
        license="Apache-2.0",
        version="1.2.3",
        contract_sha256=CONTRACT,
    )
    return Job(Source(reference, lengths, task, 0, metadata), recipe, chosen, scratch)


def padded_batch(
    length: int, *, rows: int = 4, vocab: int = 200
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Ids and mask, [rows, length]: one full row, one of a single id, the rest in between."""
    random = np.random.default_rng(length)
    ids = random.integers(1, vocab, (rows, length)).astype(np.int32)
    mask = np.ones_like(ids)
    for row in range(1, rows):
        filled = 1 if row == 1 else int(random.integers(1, length + 1))
        ids[row, filled:], mask[row, filled:] = 0, 0
    return ids, mask


def torch_logits(module: Any, ids: Any, mask: Any) -> npt.NDArray[np.float32]:
    """What a (ids, mask) → logits module gives."""
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = module(torch.tensor(ids), torch.tensor(mask)).numpy()
    return logits


def package_logits(package: Path, ids: Any, mask: Any, mode: Any = "f32") -> npt.NDArray[Any]:
    """What the saved package gives in our executor, row by row."""
    executor = Executor(read_package(package), ExecutorSettings(mode=mode))
    rows = [
        executor.run({"input_ids": ids[row : row + 1], "attention_mask": mask[row : row + 1]})
        for row in range(len(ids))
    ]
    return np.concatenate([row["logits"] for row in rows])
