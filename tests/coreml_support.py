"""What the Core ML tests share: a small model, the job of exporting it, logits both ways."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.artifacts import effective_reference
from export.families import families
from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model
from export.settings import ModelSize
from export.targets import coreml
from export.targets.base import ArtifactMetadata, Job, Source
from export.targets.coreml import OPTIONS
from export.targets.coreml._module import module_for
from export.targets.coreml._options import options_of
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.manifest import TaskSpec

from support import seeded_classifier

LENGTHS = (8, 16, 32)
CONTRACT = "c0" * 32
_SCRATCH = tempfile.TemporaryDirectory(prefix="coreml_jobs_")


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


def family_classifier(name: str, seed: int = 3, **changes: Any) -> Any:
    """A small model of any family whose logits depend on every parameter."""
    import transformers

    family = families()[name]
    # Heads 8 wide, MobileBERT's 2: float16 has neither's scale.
    size = ModelSize(vocab_size=200, dim=64, layers=2, heads=8, hidden_dim=96, dropout=0.0)
    settings = dict(family.sizes(size)) | {"vocab_size": 200, "num_labels": 3}
    pad_id = settings.setdefault("pad_token_id", 1)
    if family.has_positions:
        settings["max_position_embeddings"] = 40 + family.unused_positions(pad_id)
    torch.manual_seed(seed)
    config = getattr(transformers, family.config_class)(**(settings | changes))
    model = getattr(transformers, family.classifier)(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            matrix = parameter.ndim > 1 and min(parameter.shape[:2]) > 3
            parameter.copy_(noise * 0.15) if matrix else parameter.add_(noise * 0.2)
        model.get_submodule(family.last_layer).weight.mul_(4.0)
    return model.eval()


def coreml_job(
    model: Any = None,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    labels: tuple[str, ...] | None = None,
    kind: Any = "single_label",
    scratch: Path | None = None,
    **options: str,
) -> Job:
    """The job of converting a model in float, with these options and otherwise the defaults.

    A `Reference` will do as the model.
    """
    given = model if model is not None else lively_classifier()
    reference = given if isinstance(given, Reference) else reference_from_model(given)
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
    pad_id = reference.module.model.config.pad_token_id or 0
    side = reference.family.pad_side
    source = Source(reference, lengths, task, pad_id, metadata, pad_side=side)
    return Job(source, recipe, chosen, scratch or Path(tempfile.mkdtemp(dir=_SCRATCH.name)))


def padded_batch(
    length: int, *, rows: int = 4, vocab: int = 200, side: str = "right"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Ids and mask, [rows, length]: one full row, one of a single id, the rest in between."""
    random = np.random.default_rng(length)
    ids = random.integers(1, vocab, (rows, length)).astype(np.int32)
    mask = np.ones_like(ids)
    for row in range(1, rows):
        filled = 1 if row == 1 else int(random.integers(1, length + 1))
        beyond = slice(filled, None) if side == "right" else slice(0, length - filled)
        ids[row, beyond], mask[row, beyond] = 0, 0
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


def family_batch(job: Job, length: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    return padded_batch(length, side=job.source.pad_side)


def unpadded_logits(module: Any, ids: Any, mask: Any) -> npt.NDArray[np.float32]:
    """Every row alone, without its padding."""
    rows = (row[filled == 1] for row, filled in zip(ids, mask, strict=True))
    return np.concatenate(
        [torch_logits(module, row[None], np.ones_like(row[None])) for row in rows]
    )


def family_difference(package: Path, job: Job) -> float:
    """Largest difference of an output between the saved graph and PyTorch on the same weights.

    PyTorch sees no padding, the package does.
    """
    module = effective_reference(job.source.reference, coreml.effective(package, job)).module
    worst = 0.0
    for length in coreml.describe(package).lengths or (1, 5, LENGTHS[-1]):
        ids, mask = family_batch(job, length)
        difference = package_outputs(package, ids, mask) - unpadded_logits(module, ids, mask)
        worst = max(worst, float(np.abs(difference).max()))
    return worst


def package_outputs(package: Path, ids: Any, mask: Any, mode: Any = "f32") -> npt.NDArray[Any]:
    """Logits or vectors of the saved package."""
    executor = Executor(read_package(package), ExecutorSettings(mode=mode))
    found = []
    for row in range(len(ids)):
        feed = {"input_ids": ids[row : row + 1], "attention_mask": mask[row : row + 1]}
        out = executor.run(feed)
        found.append(out["logits"] if "logits" in out else out["embedding"])
    return np.concatenate(found)


def family_module(model: Any, **options: str) -> Any:
    job = coreml_job(model, **options)
    return module_for(job.source.reference, options_of(job), job.source.task.activation)
