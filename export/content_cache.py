"""Results on disk under everything that they depend on: made once, checked whenever they are used.

An entry is a folder: ``content``, a file or a folder; ``sha256.json``, the hash of each of its
files; and what was asked for. Entries appear whole or not at all, several programs may share them,
and the oldest go when there are too many. What cannot be kept is made again the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.files import canonical_json, files_below, sha256_of
from runtime.provisioning.cache import cache_folder, install, is_current

# Float conversions of about four full-size models for all formats.
MOST_BYTES = 4_000_000_000
_CONTENT, _HASHES = "content", "sha256.json"
# What a killed run left behind is older than any run takes.
_LEFT_OVER_SECONDS = 86_400


def key_of(request: Mapping[str, str]) -> str:
    """Hex SHA-256 of what is asked for."""
    return hashlib.sha256(canonical_json(dict(request), indent=None).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ContentCache:
    """Where results are kept.

    Attributes:
        folder: of the entries; None keeps nothing and finds nothing.
        most_bytes: of all entries together; the one used last is kept whatever its size.
    """

    folder: Path | None = None
    most_bytes: int = MOST_BYTES

    def take_or_make(
        self, request: Mapping[str, str], destination: Path, make: Callable[[Path], None]
    ) -> bool:
        """Put a result in place: the one that is kept, or a new one, which then is kept.

        Args:
            request: all that the result depends on; ``what`` names it to people.
            destination: file or folder that does not exist. It may share its bytes with the cache:
                it is to be read and replaced, never written into.
            make: makes it there.

        Returns:
            Whether it was there already.
        """
        if self.folder is None:
            make(destination)
            return False
        entry = self.folder / f"{request['what'].partition(' ')[0]}-{key_of(request)[:24]}"
        if _take(entry, request, destination):
            _note(f"  from the cache: {request['what']}")
            return True
        make(destination)
        try:
            install(entry, request, lambda new: _fill(new, destination))
            _prune(self.folder, self.most_bytes)
        except OSError as error:
            _note(f"  {request['what']} is not kept in {self.folder}: {error.strerror}")
        return False


NO_CACHE = ContentCache()


def _note(text: str) -> None:
    # Imported here, since targets import this module and must be able to say what is not installed.
    from runtime.console import note

    note(text)


def usual_cache() -> ContentCache:
    """Where commands keep conversions: ``build/conversions``, or as `cache_folder` says."""
    return ContentCache(cache_folder("conversions"))


def _take(entry: Path, request: Mapping[str, str], destination: Path) -> bool:
    """Whether the entry is there and whole; if so it is put in place."""
    if not is_current(entry, request):
        return False
    if _put(entry, destination):
        with contextlib.suppress(OSError):  # removed meanwhile
            os.utime(entry)
        return True
    # Damaged, or another program removed or replaced it meanwhile. Which of the two can be told
    # where nobody else reaches it.
    is_whole = False
    with contextlib.suppress(OSError), _set_apart(entry) as apart:
        is_whole = _put(apart, destination)
        if is_whole:
            with contextlib.suppress(OSError):  # there is a new one already
                apart.rename(entry)
        else:
            _note(f"  {entry} is damaged; {request['what']} is made again")
    return is_whole


def _put(entry: Path, destination: Path) -> bool:
    """Put an entry in place, if it is as it was kept; else nothing is there."""
    try:
        wanted = json.loads((entry / _HASHES).read_bytes())
        _link(entry / _CONTENT, destination)
        # What was put in place is what is compared: the entry may go or change meanwhile.
        if _hashes(destination) == wanted:
            return True
    except (OSError, ValueError):
        pass
    _remove(destination)
    return False


def _fill(entry: Path, made: Path) -> None:
    _link(made, entry / _CONTENT)
    text = canonical_json(_hashes(entry / _CONTENT))
    (entry / _HASHES).write_text(text, encoding="utf-8")


def _hashes(path: Path) -> dict[str, str]:
    """Path inside ``path`` → SHA-256; a file is the path ``.``."""
    files = files_below(path) if path.is_dir() else [path]
    return {file.relative_to(path).as_posix(): sha256_of(file) for file in files}


def _link(source: Path, destination: Path) -> None:
    """The same files in another place, without copying their bytes where that can be."""
    if source.is_dir():
        shutil.copytree(source, destination, copy_function=_link_file)
    else:
        _link_file(source, destination)


def _link_file(source: str | Path, destination: str | Path) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, destination)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _set_apart(entry: Path) -> Iterator[Path]:
    """An entry where no other program meets it; there it is removed afterwards.

    Raises:
        OSError: another program was faster, or nothing can be written there.
    """
    work = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
    try:
        yield entry.rename(work / "apart")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prune(folder: Path, most_bytes: int) -> None:
    """Remove the entries used longest ago, down to what may be kept, and what was left behind."""
    entries: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        try:
            changed = path.stat().st_mtime
            size = sum(file.stat().st_size for file in files_below(path))
        except OSError:  # removed meanwhile
            continue
        if not path.name.startswith("."):
            entries.append((changed, size, path))
        elif time.time() - changed > _LEFT_OVER_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    total = 0
    for place, (_, size, path) in enumerate(sorted(entries, reverse=True)):
        total += size
        if place and total > most_bytes:
            with contextlib.suppress(OSError), _set_apart(path):
                pass  # so that nobody meets a part of it
