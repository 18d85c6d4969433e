"""What Xcode shows about a package, and what a program can read from it."""

from __future__ import annotations

import json
from typing import Any

from export.targets.base import Job
from export.targets.coreml._options import Options, options_of

# Every key of ours starts with this; `mobile_export.contract_sha256` matches package and bundle.
PREFIX = "mobile_export."
# coremltools notes the day of conversion: the same job would give other bytes tomorrow.
_CLOCK = "com.github.apple.coremltools.conversion_date"


def stamp(specification: Any, job: Job) -> None:
    """Fill a specification's metadata and descriptions in.

    The metadata's user-defined keys, each after `PREFIX`:

    ==================  ===========================================================================
    name                the bundle's name
    contract_sha256     `runtime.manifest.contract_sha256` of the bundle's manifest
    recipe              the recipe's name
    recipe_version      its version
    labels              JSON list, in the order of the logits
    family              transformers' ``model_type``
    task                ``single_label``, ``multi_label`` or ``embedding``
    activation          ``softmax`` or ``sigmoid``: turns logits into probabilities; of vectors
                        ``l2`` (they have length 1) or ``none``
    thresholds          multi-label only: JSON list, probability from which a label is given
    max_length          longest sequence in ids
    lengths             ``128``, ``32,64,128`` or ``1..128``: sequence lengths that the package runs
    pad_id, pad_side    how a sequence is filled up
    vocab_size          ids run from 0 to one below
    compute_precision   ``float16`` or ``float32``
    layout              ``default`` or ``ane``
    ==================  ===========================================================================

    Args:
        specification: ``Model_pb2.Model``, changed in place.
        job: what the package was made for.
    """
    options = options_of(job)
    description, source = specification.description, job.source
    metadata = description.metadata
    metadata.shortDescription = source.metadata.description
    metadata.author = source.metadata.author
    metadata.license = source.metadata.license
    metadata.versionString = source.metadata.version
    forget_clock(specification)
    for key in [key for key in metadata.userDefined if key.startswith(PREFIX)]:
        del metadata.userDefined[key]
    for key, value in _user_defined(job, options).items():
        metadata.userDefined[PREFIX + key] = value
    texts = _descriptions(job, options)
    for feature in (*description.input, *description.output):
        feature.shortDescription = texts[feature.name]


def forget_clock(specification: Any) -> None:
    """Drop the day of conversion."""
    specification.description.metadata.userDefined.pop(_CLOCK, None)


def _user_defined(job: Job, options: Options) -> dict[str, str]:
    source, task = job.source, job.source.task
    values = {
        "name": source.metadata.name,
        "contract_sha256": source.metadata.contract_sha256,
        "recipe": job.recipe.name,
        "recipe_version": str(job.recipe.version),
        "labels": json.dumps(list(task.labels)),
        "family": source.reference.family.name,
        "task": task.kind,
        "activation": task.activation,
        "max_length": str(source.lengths[-1]),
        "lengths": _lengths(options),
        "pad_id": str(source.pad_id),
        "pad_side": source.pad_side,
        "vocab_size": str(source.reference.vocab_size),
        "compute_precision": options.compute_precision,
        "layout": options.layout,
    }
    if task.thresholds is not None:
        values["thresholds"] = json.dumps(list(task.thresholds))
    return values


def _lengths(options: Options) -> str:
    if options.shapes == "range":
        return f"1..{options.lengths[-1]}"
    return ",".join(map(str, options.lengths))


def _descriptions(job: Job, options: Options) -> dict[str, str]:
    """Feature name → one line for people."""
    source, activation = job.source, job.source.task.activation
    longest = source.lengths[-1]
    shape = f"[1, {options.lengths[-1]}]"
    if options.shapes == "range":
        shape = f"[1, length], length 1 to {longest}"
    elif not options.fixed:
        shape = f"[1, length], length one of {', '.join(map(str, options.lengths))}"
    each = "one of them holds" if source.task.kind == "single_label" else "any number may hold"
    return {
        "input_ids": (
            f"Token ids, int32 {shape}. From 0 to {source.reference.vocab_size - 1}, special "
            f"tokens included, at most {longest} of them; filled up on the {source.pad_side} with "
            f"{source.pad_id}. Other ids are not refused and give wrong results."
        ),
        "attention_mask": f"int32 {shape}: 1 for a token, 0 for padding.",
        "logits": (
            f"float32 [1, {source.reference.labels}]: a score per label before {activation}, in "
            f"the order of the metadata's {PREFIX}labels; {each}."
        ),
        "embedding": (
            f"float32 [1, {source.reference.labels}]: the text as a vector"
            + (" of length 1." if activation == "l2" else ".")
        ),
        "classLabel": "The most probable label.",
        "classLabel_probs": f"Label to probability: {activation} of the logits.",
    }
