from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.publish import check_destination, publish_folder, staging_folder
from runtime.errors import UserError

from support import ROOT


def ours(path: Path) -> bool:
    return (path / "mark").is_file()


def _publish(destination: Path, text: str) -> None:
    with staging_folder(destination) as staging:
        (staging / "mark").write_text(text)
        publish_folder(staging, destination, is_ours=ours)


def test_new_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    _publish(out, "one")
    _publish(out, "two")
    assert (out / "mark").read_text() == "two"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _publish(out, "one")
    with pytest.raises(RuntimeError), staging_folder(out) as staging:
        (staging / "mark").write_text("half")
        raise RuntimeError
    assert (out / "mark").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_something_else_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"):
        _publish(out, "one")
    assert (out / "thesis.txt").read_text() == "years of work"
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(UserError, match="is not a folder"):
        check_destination(file, is_ours=ours)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UserError, match="is not a folder"):
        check_destination(tmp_path / "link", is_ours=ours)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _publish(tmp_path / "out", "one")
    assert (tmp_path / "out" / "mark").read_text() == "one"


def test_a_parent_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        _publish(tmp_path / "file" / "out", "one")


_PUBLISH_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path
from export.publish import publish_folder, staging_folder
out = Path(sys.argv[1])
for n in count(1):
    with staging_folder(out) as staging:
        for i in range(20):
            (staging / f"part{i}").write_text(str(n))
        (staging / "mark").write_text(str(n))
        publish_folder(staging, out, is_ours=lambda path: (path / "mark").is_file())
    if n == 1:
        print("published", flush=True)
"""


def test_killed_at_any_moment_it_is_whole(tmp_path: Path) -> None:
    """SIGKILL a process that replaces the folder all the time: never a mixture, never nothing."""
    out = tmp_path / "out"
    _publish(out, "0")
    seen = set()
    for round_ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", _PUBLISH_FOR_EVER, str(out)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with child.stdout as pipe:  # type: ignore[union-attr]
            assert pipe.readline() == b"published\n"
            time.sleep(0.02 + 0.0037 * round_)
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
        number = (out / "mark").read_text()
        seen.add(number)
        parts = {path.read_text() for path in out.glob("part*")}
        assert parts in ({number}, set())
    assert len(seen) > 1
    _publish(out, "last")
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "left-overs are swept"


def test_a_living_run_is_not_swept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staging_folder(out) as first:
        (first / "mark").write_text("first")
        _publish(out, "second")
        assert (first / "mark").is_file()
        publish_folder(first, out, is_ours=ours)
    assert (out / "mark").read_text() == "first"
