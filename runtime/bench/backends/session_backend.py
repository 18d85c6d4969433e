"""Artifacts of every other format, through `runtime.sessions`; needs our own interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


def load_library() -> None:
    """Import what is ours; a session imports its runtime itself."""
    import runtime.sessions  # noqa: F401


def open_model(settings: dict[str, Any]) -> SessionModel:
    """Open ``settings["artifact"]`` of the bundle ``settings["bundle"]``, verified before."""
    return SessionModel(settings)


class SessionModel:
    """See `runtime.bench.worker.Model`."""

    lengths: list[int] | None

    def __init__(self, settings: dict[str, Any]) -> None:
        from pathlib import Path

        from runtime.bundle import open_bundle
        from runtime.sessions import SessionSettings, open_session

        bundle = open_bundle(Path(settings["bundle"]), verify=False)
        spec = bundle.artifact(settings["artifact"])
        chosen = SessionSettings.of(bundle.manifest.tokenizer, threads=settings["threads"])
        self._session = open_session(bundle.file(spec.path), spec, chosen)
        self.lengths = list(spec.lengths) if spec.lengths else None
        self.environment = dict(self._session.environment)

    def feed(self, input_ids: Ids, attention_mask: Ids) -> tuple[Ids, Ids]:
        """See `runtime.bench.worker.Model`."""
        return input_ids, attention_mask

    def run(self, fed: tuple[Ids, Ids]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return self._session.run(*fed)
