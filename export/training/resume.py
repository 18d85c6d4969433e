"""The folder of an unfinished run: what it is, and complete checkpoints to continue from."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from export.publish import flush_folder, flush_one
from runtime.console import note
from runtime.errors import UserError
from runtime.files import canonical_json, files_below, sha256_of, write_atomically

CONFIG = "config.json"
# Written last into a checkpoint: names, sizes and hashes of its files.
MARK = "complete.json"
_PREFIX = "step-"
_UNFINISHED = ".unfinished-"
_LOCK = ".lock"
# The one before the newest is there for the case that the newest was damaged.
_KEPT = 2


def run_folder(destination: Path) -> Path:
    """Where the run that will write `destination` works."""
    return destination.with_name(f"{destination.name}.run")


class RunFolder:
    """Resume checkpoints of one run; only the process that leads writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, config: dict[str, Any], *, fresh: bool) -> None:
        """Make the folder, or find the same run's.

        Args:
            config: what the run is; a run of another is not continued. ``versions`` may differ.
            fresh: throw away what is there.

        Raises:
            UserError: the folder holds another run.
        """
        if fresh:
            self.remove()
        if (self.path / CONFIG).is_file():
            self._compare(config)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, canonical_json(config))

    def _is_ours(self) -> bool:
        if not self.path.is_dir():
            return False
        names = {path.name for path in self.path.iterdir()}
        return CONFIG in names or names <= {_LOCK} or all(n.startswith(".") for n in names)

    def _compare(self, config: dict[str, Any]) -> None:
        try:
            old = json.loads((self.path / CONFIG).read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path / CONFIG} cannot be read",
                why=str(error),
                todo="start anew with --fresh",
            ) from error
        # Through JSON, which knows lists only.
        new = json.loads(canonical_json(config))
        differing = [
            name for name in sorted({*old, *new} - {"versions"}) if old.get(name) != new.get(name)
        ]
        if differing:
            raise UserError(
                f"{self.path} holds an unfinished run of another kind",
                why=f"it differs in {_difference(differing[0], old, new)}",
                todo="run it with its own settings, throw it away with --fresh, or choose "
                "another OUT=",
            )
        if old.get("versions") != new["versions"]:
            note("  the run began under other versions of Python or torch: digits may differ")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out.

        Raises:
            UserError: another run works here, the folder holds something else, or it cannot be
                written.
        """
        if self.path.exists() and not self._is_ours():
            raise UserError(
                f"{self.path} exists and holds something else",
                why="the unfinished run would be kept there",
                todo="choose another OUT=, or move it away",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written",
                why=str(error.strerror),
                todo="choose another OUT=",
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another run is at work in {self.path}",
                    todo="wait for it, or choose another OUT=",
                ) from error
            yield

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Add a checkpoint; a kill at any moment leaves it whole or not there.

        Args:
            step: optimizer steps done.
            write: puts files into the folder it is given.
        """
        for left_over in self.path.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        name = f"{_PREFIX}{step:06d}"
        unfinished = self.path / f"{_UNFINISHED}{name}"
        unfinished.mkdir()
        write(unfinished)
        mark = {"schema_version": 1, "step": step, "files": _listing(unfinished)}
        (unfinished / MARK).write_text(canonical_json(mark), encoding="utf-8")
        final = self.path / name
        if final.exists():  # damaged, or else the run would have gone on from it
            shutil.rmtree(final)
        flush_folder(unfinished)
        unfinished.rename(final)
        flush_one(self.path)
        for old in self._checkpoints()[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def newest(self) -> Path | None:
        """The newest complete checkpoint, every byte checked; damaged ones are named."""
        for path in self._checkpoints():
            problem = _problem(path)
            if not problem:
                return path
            note(f"  {path.name} is left out: {problem}")
        return None

    def _checkpoints(self) -> list[Path]:
        """Newest first."""
        found = [path for path in self.path.glob(f"{_PREFIX}*") if step_of(path) is not None]
        return sorted(found, key=lambda path: step_of(path) or 0, reverse=True)

    def remove(self) -> None:
        """Throw everything away."""
        if self.path.is_dir():
            # The lock stays until the last: somebody else may look right now.
            for path in self.path.iterdir():
                if path.name != _LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        """Remove the folder where there is nothing to continue from."""
        if not self._checkpoints():
            shutil.rmtree(self.path, ignore_errors=True)


def step_of(path: Path) -> int | None:
    """The step of a checkpoint's folder, by its name."""
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in files_below(folder)
        if path.name != MARK
    }


def _problem(path: Path) -> str:
    """Why a checkpoint cannot be used; empty if it can."""
    try:
        mark = json.loads((path / MARK).read_bytes())
        listed: dict[str, dict[str, Any]] = mark["files"]
        for name, entry in listed.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} is cut off"
            if sha256_of(file) != entry["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "it was not written to the end"
    return ""


def _difference(name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first thing in which two configurations differ, in words."""
    before, now = old.get(name), new.get(name)
    if isinstance(before, dict) and isinstance(now, dict):
        inner = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
        return _difference(inner, before, now)
    if name.endswith("sha256"):
        return f"its {name.removesuffix('_sha256')}"
    return f"{name}: {before} there, {now} now"
