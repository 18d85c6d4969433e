"""The reference set: validation texts and awkward texts with PyTorch's logits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from export.awkward import AWKWARD_TEXTS, edge_texts
from export.data.task import Example
from export.reference import Reference, reference_logits
from runtime.golden import AWKWARD, VALIDATION, Golden, GoldenCase
from runtime.manifest import TokenizerSpec
from runtime.tokenizer import TextTokenizer


def choose_validation(examples: tuple[Example, ...], limit: int) -> tuple[Example, ...]:
    """At most `limit` examples, chosen by the hash of their text and kept in order.

    The choice depends on the texts alone, so adding a row does not reshuffle the rest.
    """
    if len(examples) <= limit:
        return examples

    def digest(index: int) -> bytes:
        return hashlib.sha256(examples[index].text.encode("utf-8", "surrogatepass")).digest()

    chosen = sorted(range(len(examples)), key=digest)[:limit]
    return tuple(examples[i] for i in sorted(chosen))


def golden_from_reference(
    reference: Reference,
    tokenizer_folder: Path,
    spec: TokenizerSpec,
    validation: tuple[Example, ...],
    lengths: tuple[int, ...],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Golden:
    """Tokenize with the bundle's own tokenizer files and run the reference.

    Args:
        reference: PyTorch float32.
        tokenizer_folder: where the files that `spec` names lie.
        spec: the bundle's tokenizer.
        validation: labelled texts; label indices are the model's.
        lengths: sequence lengths whose edges must be met.
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
        _case(f"{AWKWARD}/{name}", AWKWARD, text, tokenizer, None)
        for name, text in (AWKWARD_TEXTS | edges).items()
    ]
    logits = reference_logits(reference, [case.input_ids for case in cases], progress=progress)
    return Golden(cases=tuple(cases), reference=logits)


def _case(
    name: str, kind: str, text: str, tokenizer: TextTokenizer, targets: tuple[int, ...] | None
) -> GoldenCase:
    ids = tuple(tokenizer.ids(text))
    return GoldenCase(name, kind, text, ids, (1,) * len(ids), targets)
