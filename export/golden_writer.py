"""The reference set: natural, awkward and near-boundary texts with PyTorch's logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from export.awkward import AWKWARD_TEXTS, AWKWARD_VERSION, edge_texts
from export.boundary import BOUNDARY_TEXTS
from export.content_cache import NO_CACHE, ContentCache
from export.data.task import Example
from export.reference import Reference
from export.reference_cache import cached_boundary_texts, cached_logits
from export.unlabelled import choose_by_hash
from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION, Golden, GoldenCase
from runtime.manifest import TaskSpec, TokenizerSpec
from runtime.tokenizer import TextTokenizer


def choose_validation(examples: tuple[Example, ...], limit: int) -> tuple[Example, ...]:
    """At most `limit` examples, chosen by the hash of their text and kept in order."""
    return tuple(examples[i] for i in choose_by_hash([e.text for e in examples], limit))


def golden_from_reference(
    reference: Reference,
    tokenizer_folder: Path,
    spec: TokenizerSpec,
    validation: tuple[Example, ...],
    lengths: tuple[int, ...],
    *,
    unlabelled: tuple[str, ...] = (),
    cache: ContentCache = NO_CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> Golden:
    """Tokenize with the bundle's own tokenizer files and run the reference.

    Args:
        reference: PyTorch float32.
        tokenizer_folder: where the files that `spec` names lie.
        spec: the bundle's tokenizer.
        validation: labelled texts; label indices are the model's.
        lengths: sequence lengths whose edges must be met.
        unlabelled: further natural texts.
        cache: of earlier runs' logits.
        progress: called with (done, total).
    """
    path = tokenizer_folder / spec.file
    tokenizer = TextTokenizer(path, spec)
    edges = edge_texts(Tokenizer.from_file(str(path)), spec, lengths)
    cases = [
        _case(f"{VALIDATION}/{i}", VALIDATION, example.text, tokenizer, example.labels)
        for i, example in enumerate(validation)
    ]
    cases += [
        _case(f"{UNLABELLED}/{i}", UNLABELLED, text, tokenizer, None)
        for i, text in enumerate(unlabelled)
    ]
    cases += [
        _case(f"{AWKWARD}/{name}", AWKWARD, text, tokenizer, None)
        for name, text in (AWKWARD_TEXTS | edges).items()
    ]
    ids = [case.input_ids for case in cases]
    logits = cached_logits(reference, ids, cache, progress=progress)
    return Golden(cases=tuple(cases), reference=logits, awkward_version=AWKWARD_VERSION)


def with_boundary(
    golden: Golden,
    reference: Reference,
    tokenizer: TextTokenizer,
    task: TaskSpec,
    *,
    count: int = BOUNDARY_TEXTS,
    cache: ContentCache = NO_CACHE,
) -> Golden:
    """Add texts near the reference's decision boundary, made from the natural texts.

    Args:
        golden: without such texts, nor artifacts' logits.
        reference: the one behind `golden`.
        tokenizer: the bundle's.
        task: tells what a decision is.
        count: how many to make; `boundary_texts` tells when there are fewer.
        cache: of earlier runs' texts and logits.
    """
    natural = np.concatenate([golden.rows(VALIDATION), golden.rows(UNLABELLED)])
    texts = cached_boundary_texts(
        reference,
        tokenizer,
        task,
        [golden.cases[row].text for row in natural],
        golden.reference[natural],
        cache,
        count=count,
        taken={case.text for case in golden.cases},
    )
    cases = tuple(
        _case(f"{BOUNDARY}/{i}", BOUNDARY, text, tokenizer, None) for i, text in enumerate(texts)
    )
    # One by one as for every other case; the search itself ran in batches.
    logits = cached_logits(reference, [case.input_ids for case in cases], cache)
    return replace(
        golden,
        cases=golden.cases + cases,
        reference=np.concatenate([golden.reference, logits]),
    )


def _case(
    name: str, kind: str, text: str, tokenizer: TextTokenizer, targets: tuple[int, ...] | None
) -> GoldenCase:
    ids = tuple(tokenizer.ids(text))
    return GoldenCase(name, kind, text, ids, (1,) * len(ids), targets)
