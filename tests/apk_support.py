"""A smoke APK of the demo app for the tests, and ways to spoil it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from android_demo.toolchain.android_classes import dex
from android_demo.toolchain.apk import build_apk, sign
from android_demo.toolchain.apk_check import Check, Expected, check_apk, expected_from_sources
from android_demo.toolchain.apk_resources import read_app_settings
from android_demo.toolchain.debian_tools import AndroidTools, get_android_tools
from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.kotlin import KotlinTools, kotlin_tools


@dataclass(frozen=True)
class Smoke:
    """An APK, what it was built from, and the names of the steps that built it."""

    apk: Path
    expected: Expected
    kotlin: KotlinTools
    tools: AndroidTools
    steps: tuple[str, ...]

    def check(self, apk: Path) -> dict[str, Check]:
        """Every point by its name."""
        checks = check_apk(apk, self.expected, self.kotlin.java, self.tools)
        return {check.name: check for check in checks}


@cache
def all_tools() -> tuple[KotlinTools, AndroidTools]:
    """The real tools; the test is skipped where they cannot be fetched."""
    try:
        return kotlin_tools(), get_android_tools()
    except ToolUnavailableError as error:
        pytest.skip(str(error))


@cache
def smoke_build(bundle: Path, folder: Path) -> Smoke:
    """An APK that carries a bundle."""
    kotlin, tools = all_tools()
    steps: list[str] = []

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        yield
        steps.append(name)

    apk = folder / "app.apk"
    build_apk(bundle, apk, stage)
    expected = expected_from_sources(kotlin, tools, bundle)
    return Smoke(apk, expected, kotlin, tools, tuple(steps))


def spoilt(
    smoke: Smoke,
    folder: Path,
    changes: Mapping[str, bytes | None],
    *,
    compress: tuple[str, ...] = (),
) -> Path:
    """A copy that is aligned and validly signed again.

    Args:
        smoke: what to copy.
        folder: where to.
        changes: entry → new content, or None to leave it out.
        compress: entries to compress.
    """
    loose, aligned, signed = (folder / name for name in ("loose.apk", "aligned.apk", "spoilt.apk"))
    with zipfile.ZipFile(smoke.apk) as old, zipfile.ZipFile(loose, "w") as new:
        for entry in old.infolist():
            content = changes.get(entry.filename, old.read(entry))
            if content is None or entry.filename.startswith("META-INF/"):
                continue
            kind = zipfile.ZIP_DEFLATED if entry.filename in compress else entry.compress_type
            new.writestr(entry.filename, content, compress_type=kind)
        for name in set(changes) - set(old.namelist()):
            new.writestr(name, changes[name] or b"", compress_type=zipfile.ZIP_DEFLATED)
    smoke.tools.run("zipalign", "-p", "4", loose, aligned)
    sign(aligned, signed, smoke.kotlin, smoke.tools, read_app_settings())
    return signed


def dex_of_classes(classes: Path, folder: Path) -> bytes:
    """A dex file of a class folder."""
    kotlin, tools = all_tools()
    return dex((classes,), kotlin, tools, folder).read_bytes()
