"""Text → sentence vector with one artifact of a bundle, as an app does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec
from runtime.sessions import Session, open_session
from runtime.sessions.base import SessionSettings
from runtime.tokenizer import TextTokenizer, batch_of


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of one text.

    Attributes:
        text: as given.
        vector: float32 [dim].
        truncated: the text had more ids than the model reads.
    """

    text: str
    vector: npt.NDArray[np.float32]
    truncated: bool


class TextEmbedder:
    """Tokenizer and session of a bundle that gives vectors."""

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
                gives labels.
        """
        manifest = bundle.manifest
        if not manifest.task.gives_vectors:
            raise UserError(
                f"{bundle.path} gives labels and no sentence vectors",
                why="its artifacts end in a classifier's logits",
                todo="export one with vectors: make export OUTPUT=embedding, or use classify",
            )
        self.task = manifest.task
        self.tokenizer = TextTokenizer(bundle.file(manifest.tokenizer.file), manifest.tokenizer)
        self._spec = manifest.tokenizer
        self.session: Session = open_session(
            bundle.file(artifact.path), artifact, settings or SessionSettings.of(manifest.tokenizer)
        )

    def embed(self, text: str) -> Embedding:
        """The vector of one text; any string is accepted, the empty one too."""
        ids, truncated = self.tokenizer.encode(text)
        vectors = self.session.run(*batch_of([ids], self._spec.pad_id, self._spec.pad_side))
        return Embedding(text, np.asarray(vectors[0], dtype=np.float32), truncated)

    def embed_all(self, texts: Iterable[str]) -> Iterator[Embedding]:
        """Vectors of texts one after the other, lazily."""
        for text in texts:
            yield self.embed(text)
