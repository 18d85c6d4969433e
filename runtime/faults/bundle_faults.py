"""Faults beside the model: in what turns text into ids, and logits into words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.bundle import Bundle
from runtime.faults.graph import NotApplicable
from runtime.golden import Golden


@dataclass(frozen=True, slots=True)
class BundleFault:
    """One fault.

    Attributes:
        name: for the command line.
        summary: what it does, for the table.
        file: the one it is in, for the table.
        plant: changes a copy of the bundle's small files and returns it as it would be read.
    """

    name: str
    summary: str
    file: str
    plant: Callable[[Bundle, Golden], Bundle]


def other_case(bundle: Bundle, _: Golden) -> Bundle:
    """The tokenizer keeps or drops capitals the other way round."""
    path, value = _tokenizer(bundle)
    found = [part for part in _parts(value.get("normalizer")) if "lowercase" in part]
    lower = [part for part in _parts(value.get("normalizer")) if part.get("type") == "Lowercase"]
    for part in found:
        part["lowercase"] = not part["lowercase"]
    for part in lower:
        part.clear()
        part.update({"type": "Sequence", "normalizers": []})
    if not found and not lower:
        raise NotApplicable("its tokenizer does not change case")
    path.write_text(json.dumps(value), encoding="utf-8")
    return bundle


def swapped_words(bundle: Bundle, golden: Golden) -> Bundle:
    """Two words of the vocabulary have each other's id."""
    path, value = _tokenizer(bundle)
    words = value.get("model", {}).get("vocab")
    if not isinstance(words, dict | list):
        raise NotApplicable("its vocabulary is no table of words")
    special = {entry["id"] for entry in value.get("added_tokens", ())}
    used = Counter(i for case in golden.cases for i in set(case.input_ids) if i not in special)
    if len(used) < 2:
        raise NotApplicable("the texts hold fewer than two words")
    (first, _), (second, _) = used.most_common(2)
    if isinstance(words, list):  # Unigram: the place in the list is the id
        words[first], words[second] = words[second], words[first]
    else:
        names = {number: word for word, number in words.items()}
        words[names[first]], words[names[second]] = second, first
    path.write_text(json.dumps(value), encoding="utf-8")
    return bundle


def reversed_labels(bundle: Bundle, _: Golden) -> Bundle:
    """The manifest names the labels in reverse, and labels.txt as before."""
    task = bundle.manifest.task
    if task.gives_vectors:
        raise NotApplicable("a sentence vector has no labels")
    turned = replace(task, labels=task.labels[::-1])
    return Bundle(bundle.path, replace(bundle.manifest, task=turned))


def _tokenizer(bundle: Bundle) -> tuple[Path, dict[str, Any]]:
    path = bundle.file(bundle.manifest.tokenizer.file)
    value: dict[str, Any] = json.loads(path.read_bytes())
    return path, value


def _parts(normalizer: Any) -> list[dict[str, Any]]:
    """A normalizer and those inside it."""
    if not isinstance(normalizer, dict):
        return []
    inner = normalizer.get("normalizers", ())
    return [normalizer, *(part for child in inner for part in _parts(child))]


BUNDLE_FAULTS = (
    BundleFault("other_case", other_case.__doc__ or "", "tokenizer.json", other_case),
    BundleFault("swapped_words", swapped_words.__doc__ or "", "tokenizer.json", swapped_words),
    BundleFault("reversed_labels", reversed_labels.__doc__ or "", "labels.txt", reversed_labels),
)
