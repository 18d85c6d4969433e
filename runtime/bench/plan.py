"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.bench.schedule import Cell, cells_of
from runtime.errors import UserError

LENGTHS = (32, 64, 128, 256)
THREADS = (1, 2)
# Fewer rounds leave a bootstrap nothing to draw from.
FEWEST_ROUNDS, MOST_ROUNDS = 5, 200
# A burst long enough for the clock and short enough that its neighbours see the same machine.
BURST_MS = 80.0
MOST_RUNS = 40
# Threads of a library that spin after a run take the core of whoever is next. OpenMP's do so for
# about 8 ms; onnxruntime's are told to stop (`backends/onnxruntime_backend.py`).
_PAUSE_SECONDS, _PAUSE_SECONDS_THREADS = 0.005, 0.02


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """Sizes and effort of a run.

    Attributes:
        lengths: sequence lengths.
        threads: settings, one after the other; all contestants are asked in turn within each.
        batch: rows of a request that waits for its answer.
        throughput: rows where only the total counts; 0 leaves it out.
        rounds: how often every contestant is asked at every size; None fits `seconds`.
        seconds: for all rounds together, about; never fewer than `FEWEST_ROUNDS`.
        sittings: how often everyone starts anew; the rounds are shared out over them, and the load
            time is the median over them.
        patience: seconds without an answer after which a worker is ended.
        seed: of the order and of the bootstrap.
    """

    lengths: tuple[int, ...] = LENGTHS
    threads: tuple[int, ...] = THREADS
    batch: int = 1
    throughput: int = 16
    rounds: int | None = None
    seconds: float = 180.0
    sittings: int = 3
    patience: float = 300.0
    seed: int = 20_260_101

    def check(self) -> None:
        """Refuse sizes that no model can run.

        Raises:
            UserError: names the option.
        """
        if not self.lengths or min(self.lengths) < 2:
            raise UserError("--lengths needs whole numbers of at least 2, such as 32,128")
        if not self.threads or min(self.threads) < 1:
            raise UserError("--threads needs whole numbers of at least 1, such as 1,2")
        if self.sittings < 1:
            raise UserError("--sittings must be at least 1")
        if self.rounds is not None and self.rounds < FEWEST_ROUNDS:
            raise UserError(
                f"--rounds is {self.rounds}", why=f"an interval needs at least {FEWEST_ROUNDS}"
            )

    def cells(self, longest: int) -> list[Cell]:
        """See `runtime.bench.schedule.cells_of`; `longest` is the bundle's max_length."""
        return cells_of(self.lengths, self.batch, self.throughput, longest)

    def runs_of(self, estimate_ms: float) -> int:
        """Runs of a burst, from what one takes."""
        return max(1, min(MOST_RUNS, round(BURST_MS / max(estimate_ms, 1e-3))))

    def pause_seconds(self, threads: int) -> float:
        """Between two bursts."""
        return _PAUSE_SECONDS if threads == 1 else _PAUSE_SECONDS_THREADS

    def rounds_for(self, round_seconds: float) -> int:
        """How many rounds there will be, from what one takes."""
        if self.rounds is not None:
            return self.rounds
        share = self.seconds / len(self.threads)
        return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(share / max(round_seconds, 1e-6))))
