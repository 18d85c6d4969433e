"""What the artifacts of a bundle make of a traced text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.tracing.document import ArtifactLogits, TextTrace
from runtime.bundle import Bundle
from runtime.classify import TextClassifier
from runtime.decisions import decisions
from runtime.errors import UserError
from runtime.tokenizer import batch_of


def with_artifacts(trace: TextTrace, bundle: Bundle) -> TextTrace:
    """The trace with the logits of every artifact of a bundle that can run on this machine.

    Args:
        trace: of the checkpoint that the bundle was made of, or of another one to compare.
        bundle: with the same labels.

    Raises:
        UserError: the bundle has other labels, or an artifact is corrupt.
        MissingExtraError: a runtime is not installed.
    """
    task = bundle.manifest.task
    if sorted(task.labels) != sorted(trace.task.labels):
        raise UserError(
            f"the bundle has other labels than {trace.model}",
            todo="name the bundle that was made of this model, or its model with --model",
        )
    order = [task.labels.index(name) for name in trace.task.labels]
    found = []
    for spec in bundle.manifest.artifacts:
        classifier = TextClassifier(bundle, spec)
        ids = classifier.tokenizer.ids(trace.text)
        same = ids == [token.id for token in trace.tokens]
        tokenizer = bundle.manifest.tokenizer
        logits = classifier.session.run(*batch_of([ids], tokenizer.pad_id, tokenizer.pad_side))
        chosen = decisions(logits, task)[0]
        own = np.asarray(logits[0], dtype=np.float64)[order]
        found.append(
            ArtifactLogits(
                path=spec.path,
                same_ids=same,
                logits=tuple(float(value) for value in own),
                labels=tuple(
                    name for name, given in zip(task.labels, chosen, strict=True) if given
                ),
                difference=float(np.abs(own - trace.logits).max()) if same else None,
            )
        )
    return replace(trace, artifacts=tuple(found))
