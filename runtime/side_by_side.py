"""Runs several things at a time, each with one thread of its own.

A session, or PyTorch, on one thread gives the same numbers whatever runs beside it, so a judgement
takes less time on several cores and is the same to the last bit. Threads are enough: runtimes,
numpy and torch let go of Python while they compute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from runtime.processor import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

# A float32 session at full size takes up to a gigabyte, and an export is to stay below six.
_AT_ONCE = 3
# How often the waiting thread looks up, so that Ctrl-C is heard on every system.
_SECONDS = 0.2


class Stopped(Exception):  # noqa: N818 - no error: another run failed, or the user left
    """Raised by `Running.check`: nobody wants the result any more."""


class Running:
    """Whether results are still wanted.

    Attributes:
        lock: for what several runs write to.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """From now on `check` raises."""
        self._stopped.set()

    def check(self) -> None:
        """To be called now and then.

        Raises:
            Stopped: there is no use in going on.
        """
        if self._stopped.is_set():
            raise Stopped


def run_side_by_side(
    items: Sequence[Item],
    run: Callable[[Item, Running], Result],
    *,
    at_once: int | None = None,
) -> list[Result]:
    """Call `run` for every item; the first that fails ends the others.

    Args:
        items: taken in their order.
        run: called in several threads; should call `Running.check` often.
        at_once: how many run at a time; None is one a core, three at most.

    Returns:
        One result per item, in their order.

    Raises:
        Exception: what `run` raised, of the first item in order that failed by itself.
    """
    count = min(len(items), at_once or min(usable_cores(), _AT_ONCE))
    running = Running()
    if count <= 1:
        return [run(item, running) for item in items]
    waiting: SimpleQueue[int] = SimpleQueue()
    for place in range(len(items)):
        waiting.put(place)
    results: dict[int, Result] = {}
    failures: dict[int, BaseException] = {}

    def work() -> None:
        while True:
            try:
                place = waiting.get_nowait()
                running.check()
                results[place] = run(items[place], running)
            except (Empty, Stopped):
                return
            except BaseException as error:
                failures[place] = error
                running.stop()
                return

    # Daemons: who presses Ctrl-C does not wait for a run that takes long to look up.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        # numpy's own threads belong to the process: sessions that set them in turn would put back
        # what they found in the wrong order.
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_SECONDS)
    except BaseException:
        running.stop()
        raise
    if failures:
        raise failures[min(failures)]
    return [results[place] for place in range(len(items))]
