"""What every session offers, whatever runtime is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, PadSide, TokenizerSpec

if TYPE_CHECKING:
    from runtime.sessions.taps import Tapped

Ids = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How to open a session.

    Attributes:
        threads: threads inside one run; 1 makes figures comparable and repeatable.
        pad_id: id that fills a sequence up to a length that the artifact has.
        pad_side: where it does.
        vocab_size: ids run from 0 to vocab_size - 1; None leaves the check to the runtime.
        backend: which of a format's runtimes, where there are several; ``auto`` takes the one that
            a device would.
        compute_unit: where a runtime may choose a processor: ``all``, ``cpu_only`` …
    """

    threads: int = 1
    pad_id: int = 0
    vocab_size: int | None = None
    backend: str = "auto"
    compute_unit: str = "all"
    pad_side: PadSide = "right"

    @classmethod
    def of(
        cls,
        tokenizer: TokenizerSpec,
        *,
        threads: int = 1,
        backend: str = "auto",
        compute_unit: str = "all",
    ) -> SessionSettings:
        """Settings for artifacts that read this tokenizer's ids."""
        return cls(
            threads,
            tokenizer.pad_id,
            tokenizer.vocab_size,
            backend,
            compute_unit,
            tokenizer.pad_side,
        )


class Session(Protocol):
    """A loaded artifact."""

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """Logits of a batch.

        Args:
            input_ids: int32 [batch, length]; any length up to the artifact's longest.
            attention_mask: int32 [batch, length], 1 for a token and 0 for padding, which is on the
                side that the settings name.

        Returns:
            float32 [batch, labels].

        Raises:
            UserError: a wrong shape or dtype, a length that the artifact does not have, or
                ids outside the vocabulary.
        """
        ...

    @property
    def environment(self) -> dict[str, str]:
        """Runtime name, version, threads, delegates: what a report must say of its figures."""
        ...


@runtime_checkable
class ExactSession(Session, Protocol):
    """A session that can also leave out what low precision does to activations."""

    def run_exact(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, with every activation in float32, whatever type the artifact declares.

        The weights keep the precision that they are stored with.
        """
        ...


@runtime_checkable
class SeriesSession(Session, Protocol):
    """A session that answers many texts in less time than one after the other, each by itself."""

    def run_series(
        self, pairs: Sequence[tuple[Ids, Ids]], *, exact: bool = False
    ) -> Iterator[Logits]:
        """What `run` gives for each of the pairs, or with `exact` `ExactSession.run_exact`.

        Args:
            pairs: ids and mask, each int32 [batch, length].
            exact: see there.

        Raises:
            UserError: as `run`, when the pair's turn comes or earlier.
        """
        ...


@runtime_checkable
class BucketSession(Session, Protocol):
    """A session of an artifact with fixed lengths that can run at a chosen one."""

    def run_at(self, length: int, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, but at this one of the artifact's lengths instead of the shortest that fits.

        Raises:
            UserError: as `run`, or the artifact does not have the length.
        """
        ...


@runtime_checkable
class TappingSession(Session, Protocol):
    """A session that can show every tensor inside."""

    def tap(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """Run one text and keep every intermediate tensor.

        Args:
            input_ids: int32 [1, length]; for an artifact with fixed lengths one of them.
            attention_mask: int32 [1, length].

        Raises:
            UserError: as `run`, or this backend cannot show what is inside.
        """
        ...


@runtime_checkable
class ExactTappingSession(ExactSession, TappingSession, Protocol):
    """A session that can show what `run_exact` computes inside, too."""

    def tap_exact(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """As `tap`, with every activation in float32."""
        ...


@runtime_checkable
class WeighingSession(Session, Protocol):
    """A session that can tell whether the weights are still those that were exported."""

    def weight_digests(self) -> dict[str, str]:
        """Weight name → hex SHA-256 of the values that the arithmetic uses."""
        ...


@runtime_checkable
class ClassifierSession(Session, Protocol):
    """A session of an artifact that may end in labels and probabilities, besides logits."""

    def classify(self, input_ids: Ids, attention_mask: Ids) -> tuple[str, dict[str, float]] | None:
        """The label and label → probability of one text, int32 [1, length].

        Returns:
            None if the artifact gives logits only.
        """
        ...


class SessionModule(Protocol):
    """A module of `runtime.sessions` that opens artifacts of one format."""

    FORMAT: str

    def available(self) -> str | None:
        """None, or one line that names the install command."""
        ...

    def open_session(self, path: Path, spec: ArtifactSpec, settings: SessionSettings) -> Session:
        """Load an artifact.

        Raises:
            MissingExtraError: the runtime is not installed.
            UserError: the runtime refuses the file, or its inputs or outputs are not `spec`'s.
        """
        ...


def check_batch(
    input_ids: Ids, attention_mask: Ids, longest: int | None, vocab_size: int | None = None
) -> None:
    """Refuse what a runtime might accept and then answer wrongly.

    Args:
        input_ids: must be int32 [batch, length] with batch and length of at least 1.
        attention_mask: must have the same shape and dtype and hold only 0 and 1.
        longest: the artifact's longest sequence, None if any.
        vocab_size: ids must be from 0 to vocab_size - 1; None if that is not known, and then they
            must only not be negative.

    Raises:
        UserError: says which of these does not hold.
    """
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise UserError(f"input_ids has the shape {input_ids.shape}, not [batch, length]")
    if attention_mask.shape != input_ids.shape:
        raise UserError(
            f"attention_mask has the shape {attention_mask.shape}, input_ids {input_ids.shape}"
        )
    if input_ids.dtype != np.int32 or attention_mask.dtype != np.int32:
        raise UserError(
            f"input_ids is {input_ids.dtype} and attention_mask {attention_mask.dtype}, not int32"
        )
    if longest is not None and input_ids.shape[1] > longest:
        raise UserError(
            f"a sequence has {input_ids.shape[1]} ids, the artifact's longest is {longest}"
        )
    if not np.isin(attention_mask, (0, 1)).all():
        raise UserError("attention_mask holds values other than 0 and 1")
    if vocab_size is not None and not 0 <= input_ids.min() <= input_ids.max() < vocab_size:
        raise UserError(
            f"ids run from {input_ids.min()} to {input_ids.max()}",
            why=f"the vocabulary has the ids 0 to {vocab_size - 1}",
        )
    # Most runtimes count negative indices from the end, so they would run and be wrong.
    if (lowest := int(input_ids.min())) < 0:
        raise UserError(
            f"input_ids holds {lowest}", why="ids start at 0 and end with the vocabulary"
        )


def pad_to(array: Ids, length: int, value: int, side: PadSide = "right") -> Ids:
    """Fill int32 [batch, n] up on one side to [batch, length]; n must not be above length."""
    missing = length - array.shape[1]
    along = (0, missing) if side == "right" else (missing, 0)
    return np.pad(array, ((0, 0), along), constant_values=value).astype(np.int32)
