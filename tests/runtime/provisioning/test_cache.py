from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runtime.provisioning.cache import cache_folder, install, is_current, placed_by_hand

ASKED = {"wheels": "numpy==2.3.5"}


def fill(folder: Path) -> None:
    (folder / "file").write_text("new")


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path))
    assert cache_folder("emulation") == tmp_path / "emulation"
    monkeypatch.delenv("MOBILE_EXPORT_CACHE")
    assert cache_folder("emulation") == Path.cwd() / "build" / "emulation"


def test_the_second_call_does_nothing(tmp_path: Path) -> None:
    calls = []

    def counted(folder: Path) -> None:
        calls.append(folder)
        fill(folder)

    folder = tmp_path / "a" / "part"
    install(folder, ASKED, counted)
    install(folder, ASKED, counted)
    assert len(calls) == 1
    assert is_current(folder, ASKED)
    assert [path.name for path in folder.parent.iterdir()] == ["part"]


def test_another_request_replaces_the_folder(tmp_path: Path) -> None:
    folder = install(tmp_path / "part", ASKED, lambda new: (new / "old").touch())
    other = {"wheels": "numpy==2.4.0"}
    assert not is_current(folder, other)
    install(folder, other, fill)
    assert sorted(path.name for path in folder.iterdir()) == ["file", "stamp.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = install(tmp_path / "part", ASKED, fill)

    def fails(new: Path) -> None:
        (new / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(folder, {"wheels": "none"}, fails)
    assert is_current(folder, ASKED)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_another_program_may_be_faster(tmp_path: Path) -> None:
    folder = tmp_path / "part"

    def slow(new: Path) -> None:
        fill(new)
        install(folder, ASKED, fill)

    assert install(folder, ASKED, slow) == folder
    assert is_current(folder, ASKED)


def test_what_was_placed_by_hand_has_no_stamp(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    assert not placed_by_hand(folder)
    folder.mkdir()
    assert placed_by_hand(folder)
    shutil.rmtree(folder)
    install(folder, ASKED, fill)
    assert not placed_by_hand(folder)
    (folder / "stamp.json").write_text("{")
    assert not is_current(folder, ASKED)
