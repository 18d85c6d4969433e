"""Text → labels with one artifact of a bundle, as an app does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.bundle import Bundle
from runtime.decisions import decisions, probabilities
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec
from runtime.sessions import Session, open_session
from runtime.sessions.base import SessionSettings
from runtime.tokenizer import TextTokenizer, batch_of


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one text.

    Attributes:
        text: as given.
        labels: the labels the text gets; exactly one for a single-label task.
        probabilities: label → probability, likeliest first.
        truncated: the text had more ids than the model reads.
        ids: what the model read, with special tokens and without padding.
        logits: in the order of the task's labels.
    """

    text: str
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    truncated: bool
    ids: tuple[int, ...]
    logits: tuple[float, ...]


class TextClassifier:
    """Tokenizer, session and task of a bundle in one object."""

    def __init__(
        self, bundle: Bundle, artifact: ArtifactSpec, settings: SessionSettings | None = None
    ) -> None:
        """Load the tokenizer and the artifact.

        Args:
            bundle: for the files and the task.
            artifact: which of its artifacts.
            settings: of the session; None takes one thread and the runtime that a device would.

        Raises:
            UserError: a file is missing or corrupt, the runtime is not installed, or the bundle
                gives vectors.
        """
        manifest = bundle.manifest
        if manifest.task.gives_vectors:
            raise UserError(
                f"{bundle.path} gives sentence vectors and no labels",
                todo="embed a text instead: mobile-runtime embed BUNDLE TEXT",
            )
        self.task = manifest.task
        self.tokenizer = TextTokenizer(bundle.file(manifest.tokenizer.file), manifest.tokenizer)
        self._spec = manifest.tokenizer
        self.session: Session = open_session(
            bundle.file(artifact.path),
            artifact,
            settings or SessionSettings.of(manifest.tokenizer),
        )

    def classify(self, text: str) -> Classification:
        """Label one text; any string is accepted, the empty one too."""
        ids, truncated = self.tokenizer.encode(text)
        input_ids, mask = batch_of([ids], self._spec.pad_id, self._spec.pad_side)
        logits = self.session.run(input_ids, mask)
        shares = probabilities(logits, self.task)[0]
        chosen = decisions(logits, self.task)[0]
        order = sorted(range(len(shares)), key=lambda i: (-shares[i], i))
        names = self.task.labels
        return Classification(
            text=text,
            labels=tuple(names[i] for i in order if chosen[i]),
            probabilities={names[i]: float(shares[i]) for i in order},
            truncated=truncated,
            ids=tuple(ids),
            logits=tuple(logits[0].tolist()),
        )

    def classify_all(self, texts: Iterable[str]) -> Iterator[Classification]:
        """Label texts one after the other, lazily."""
        for text in texts:
            yield self.classify(text)
