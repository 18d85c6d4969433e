"""PyTorch's answers, kept for later runs: logits of texts, and texts near the decision boundary.

Last bits depend on the processor, and those of batches on the number of threads, so both are part
of what is asked for: what is taken from the cache is what would be computed here.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from export.boundary import boundary_texts
from export.content_cache import ContentCache
from export.fingerprints import reference_sha256, sources_sha256, versions
from export.reference import reference_logits
from runtime.files import canonical_json
from runtime.processor import flags, processor_name
from runtime.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from export.reference import Reference
    from runtime.manifest import TaskSpec

Logits = npt.NDArray[np.float32]
_SOURCES = (
    "families",
    "reference.py",
    "embedding_reference.py",
    "pooling.py",
    "reference_cache.py",
)
_SEARCH = ("boundary.py",)


def cached_logits(
    reference: Reference,
    sequences: Sequence[Sequence[int]],
    cache: ContentCache,
    *,
    together: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Logits:
    """`reference_logits`, or what it gave in an earlier run; arguments as there."""
    if cache.folder is None or not sequences:
        return reference_logits(reference, sequences, together=together, progress=progress)
    ids = canonical_json([[int(number) for number in row] for row in sequences], indent=None)
    request = _request("reference logits", reference) | {"sequences": _sha256(ids)}
    if together:
        request["runs"] = "equal lengths together"

    def make(path: Path) -> None:
        logits = reference_logits(reference, sequences, together=together, progress=progress)
        with path.open("wb") as stream:
            np.save(stream, logits, allow_pickle=False)

    with tempfile.TemporaryDirectory(prefix="logits_") as folder:
        path = Path(folder) / "logits.npy"
        cache.take_or_make(request, path, make)
        logits: Logits = np.load(path, allow_pickle=False)
    return logits


def cached_boundary_texts(
    reference: Reference,
    tokenizer: TextTokenizer,
    task: TaskSpec,
    texts: Sequence[str],
    logits: Logits,
    cache: ContentCache,
    *,
    count: int,
    taken: Collection[str],
) -> tuple[str, ...]:
    """`boundary_texts`, or what it gave in an earlier run; arguments as there."""
    arguments = (reference, tokenizer, task, texts, logits)
    if cache.folder is None:
        return boundary_texts(*arguments, count=count, taken=taken)
    asked = [list(texts), sorted(taken), count, asdict(task), tokenizer.sha256()]
    request = _request("boundary texts", reference, *_SEARCH) | {
        "threads": str(torch.get_num_threads()),
        "asked": _sha256(canonical_json(asked)),
        "logits": hashlib.sha256(np.ascontiguousarray(logits).data).hexdigest(),
    }

    def make(path: Path) -> None:
        found = boundary_texts(*arguments, count=count, taken=taken)
        path.write_text(canonical_json(list(found)), encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="boundary_") as folder:
        path = Path(folder) / "texts.json"
        cache.take_or_make(request, path, make)
        return tuple(json.loads(path.read_bytes()))


def _request(what: str, reference: Reference, *sources: str) -> dict[str, str]:
    return {
        "what": what,
        "reference": reference_sha256(reference),
        "processor": f"{processor_name()} {' '.join(sorted(flags()))}",
        "versions": versions(("tokenizers",)),
        "sources": sources_sha256(*_SOURCES, *sources),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
