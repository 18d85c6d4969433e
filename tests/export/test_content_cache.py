"""Entries are taken only as they were kept; what is damaged, old or too much goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from export.content_cache import ContentCache, key_of

from support import contents

REQUEST = {"what": "onnx conversion", "weights": "1"}


def write_file(path: Path) -> None:
    path.write_bytes(b"weights" * 100)


def write_folder(path: Path) -> None:
    (path / "Data").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "weight.bin").write_bytes(b"weights" * 100)


def never(path: Path) -> None:
    raise AssertionError(f"{path} is in the cache")


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


@pytest.mark.parametrize("make", [write_file, write_folder])
def test_what_was_made_is_taken(tmp_path: Path, make: Callable[[Path], None]) -> None:
    cache = ContentCache(tmp_path / "cache")
    assert not cache.take_or_make(REQUEST, tmp_path / "first", make)
    assert cache.take_or_make(REQUEST, tmp_path / "second", never)
    assert contents(tmp_path / "first") == contents(tmp_path / "second") != {}


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert not ContentCache().take_or_make(REQUEST, tmp_path / name, write_file)
    assert [path.name for path in entries(tmp_path)] == ["first", "second"]


def test_another_request_is_another_entry(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.take_or_make(REQUEST, tmp_path / "first", write_file)
    assert not cache.take_or_make(REQUEST | {"weights": "2"}, tmp_path / "second", write_file)
    assert len(entries(tmp_path / "cache")) == 2
    assert key_of(REQUEST) == key_of(dict(reversed(REQUEST.items())))


def truncated(entry: Path) -> None:
    os.truncate(entry / "content" / "Data" / "weight.bin", 8)


def flipped(entry: Path) -> None:
    path = entry / "content" / "Data" / "weight.bin"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def lost(entry: Path) -> None:
    (entry / "content" / "Manifest.json").unlink()


def added(entry: Path) -> None:
    (entry / "content" / "more.bin").write_bytes(b"")


def unlisted(entry: Path) -> None:
    (entry / "sha256.json").write_text("{")


@pytest.mark.parametrize("damage", [truncated, flipped, lost, added, unlisted])
def test_a_damaged_entry_is_made_again(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.take_or_make(REQUEST, tmp_path / "first", write_folder)
    (entry,) = entries(tmp_path / "cache")
    # Entries share bytes with what they were made of: spoil the entry alone.
    (tmp_path / "first" / "Data" / "weight.bin").unlink()
    damage(entry)
    assert not cache.take_or_make(REQUEST, tmp_path / "second", write_folder)
    assert "damaged; onnx conversion is made again" in " ".join(capsys.readouterr().err.split())
    assert cache.take_or_make(REQUEST, tmp_path / "third", never)
    write_folder(tmp_path / "wanted")
    assert contents(tmp_path / "wanted") == contents(tmp_path / "second")
    assert contents(tmp_path / "wanted") == contents(tmp_path / "third")


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", most_bytes=2_000)
    requests = [REQUEST | {"weights": str(number)} for number in range(3)]
    for number, request in enumerate(requests[:2]):
        cache.take_or_make(request, tmp_path / f"made{number}", write_file)
    for age, path in enumerate(entries(tmp_path / "cache")):
        os.utime(path, (time.time() - 100 - age,) * 2)
    assert cache.take_or_make(requests[0], tmp_path / "used", never)
    cache.take_or_make(requests[2], tmp_path / "made2", write_file)
    assert len(entries(tmp_path / "cache")) == 2
    assert cache.take_or_make(requests[0], tmp_path / "kept", never)
    assert not cache.take_or_make(requests[1], tmp_path / "gone", write_file)


def test_one_that_is_too_large_is_kept_alone(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", most_bytes=10)
    cache.take_or_make(REQUEST, tmp_path / "first", write_file)
    os.utime(entries(tmp_path / "cache")[0], (1e9, 1e9))
    cache.take_or_make(REQUEST | {"weights": "2"}, tmp_path / "second", write_file)
    assert len(entries(tmp_path / "cache")) == 1
    assert cache.take_or_make(REQUEST | {"weights": "2"}, tmp_path / "third", never)


def test_what_a_killed_run_left_goes_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for name, age in ((".onnx-old", 2 * 86_400), (".onnx-alive", 60)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    ContentCache(folder).take_or_make(REQUEST, tmp_path / "first", write_file)
    hidden = [path.name for path in entries(folder) if path.name.startswith(".")]
    assert hidden == [".onnx-alive"]


def test_a_cache_that_cannot_be_written_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = ContentCache(tmp_path / "file" / "cache")
    assert not cache.take_or_make(REQUEST, tmp_path / "first", write_file)
    assert (tmp_path / "first").is_file()
    assert "is not kept" in capsys.readouterr().err


MANY = """
import random, sys, tempfile
from pathlib import Path
from export.content_cache import ContentCache
cache, random_ = ContentCache(Path(sys.argv[1]), most_bytes=4_000), random.Random(int(sys.argv[2]))
with tempfile.TemporaryDirectory() as folder:
    for turn in range(150):
        number = random_.randrange(5)
        path = Path(folder) / str(turn)
        wanted = bytes([number]) * 1000
        request = {"what": "a b", "number": str(number)}
        cache.take_or_make(request, path, lambda p: p.write_bytes(wanted))
        if path.read_bytes() != wanted:
            sys.exit(f"turn {turn} got something else")
"""


def test_several_programs_at_once(tmp_path: Path) -> None:
    """They make, take, replace and remove the same few entries."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(tmp_path / "cache"), str(seed)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    for program in programs:
        _, errors = program.communicate(timeout=120)
        assert program.returncode == 0, errors
        assert "Traceback" not in errors
        assert "damaged" not in errors
