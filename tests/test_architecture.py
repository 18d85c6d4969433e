"""The rules of the house that a machine can check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("android_demo", "export", "runtime")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
# What git has, so that a build or node_modules beside the sources is not looked at.
DEMO_SOURCES = sorted(
    ROOT / line
    for line in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "android_demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if line.endswith((".kt", ".kts", ".mjs", ".html", ".css", ".swift"))
)
# Made by `android_demo.toolchain.unicode_tables`.
GENERATED = {"UnicodeTables.kt", "UnicodeTables.swift", "unicode-tables.mjs"}


def test_import_directions() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_import_rule_can_fail(tmp_path: Path) -> None:
    """Plant a forbidden import in a copy and see the same contract break."""
    for name in PACKAGES:
        for source in (ROOT / name).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    planted = tmp_path / "runtime" / "classify.py"
    planted.write_text(planted.read_text() + "\n\ndef f():\n    import export.reference\n")
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [tool, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "runtime.classify -> export.reference" in done.stdout


def test_the_demos_sources_are_found() -> None:
    kinds = {path.suffix for path in DEMO_SOURCES}
    assert kinds == {".kt", ".kts", ".mjs", ".html", ".css", ".swift"}


@pytest.mark.parametrize("path", [*SOURCES, *DEMO_SOURCES], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    if path.name in GENERATED:
        pytest.skip("generated")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_assert_in_sources() -> None:
    for path in SOURCES:
        assert not re.search(r"^\s*assert\b", path.read_text(encoding="utf-8"), re.M), path


def test_make_help_names_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("export", "finetune", "parity", "classify", "test", "lint", "clean"):
        assert re.search(rf"^  {target}\s+\S", shown, re.M), target
