"""Native libraries for 16 KB pages: real libraries, placed and aligned rightly and wrongly."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from android_demo.toolchain.cli import make_app
from android_demo.toolchain.pages import PAGE, page_problems
from runtime.errors import UserError

LIBRARY = "lib/x86_64/libx.so"
LOAD = 1


@pytest.fixture(scope="module")
def library() -> bytes:
    """A real library, its loaded segments declared to be aligned to 16 KB."""
    import numpy as np

    files = sorted(Path(np.__file__).parent.rglob("*.so"))
    found = next(file for file in files if file.read_bytes()[:6] == b"\x7fELF\x02\x01")
    return aligned(found.read_bytes(), PAGE)


def aligned(library: bytes, align: int) -> bytes:
    data = bytearray(library)
    (offset,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    loads = [
        offset + number * size
        for number in range(count)
        if struct.unpack_from("<I", data, offset + number * size) == (LOAD,)
    ]
    assert loads
    for place in loads:
        struct.pack_into("<Q", data, place + 0x30, align)
    return bytes(data)


def write_apk(
    path: Path,
    library: bytes,
    *,
    name: str = LIBRARY,
    shift: int = 0,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip file whose library begins `shift` bytes after a multiple of 16 KB."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", b"x" * 1000)
        info = zipfile.ZipInfo(name)
        info.compress_type = compression
        start = archive.start_dir + 30 + len(name)
        info.extra = struct.pack("<HH", 0xD935, 0)
        padding = (shift - start - len(info.extra)) % PAGE
        info.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
        archive.writestr(info, library)
    return path


def test_a_library_that_fits(tmp_path: Path, library: bytes) -> None:
    assert page_problems(write_apk(tmp_path / "good.apk", library)) == []


def test_a_library_between_two_pages(tmp_path: Path, library: bytes) -> None:
    (problem,) = page_problems(write_apk(tmp_path / "x.apk", library, shift=4096))
    assert problem.startswith(LIBRARY)
    assert "not at a page of 16 KB" in problem


def test_a_compressed_library(tmp_path: Path, library: bytes) -> None:
    apk = write_apk(tmp_path / "x.apk", library, compression=zipfile.ZIP_DEFLATED)
    assert page_problems(apk) == [f"{LIBRARY} is compressed and cannot be mapped"]


def test_a_library_built_for_pages_of_4_kb(tmp_path: Path, library: bytes) -> None:
    apk = write_apk(tmp_path / "x.apk", aligned(library, 4096))
    assert page_problems(apk) == [f"{LIBRARY} has a segment aligned to 4096 bytes, not to 16 KB"]


def test_libraries_for_32_bits_do_not_count(tmp_path: Path, library: bytes) -> None:
    name = "lib/armeabi-v7a/libx.so"
    assert page_problems(write_apk(tmp_path / "x.apk", library, name=name, shift=4096)) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads an ELF file of this system")
def test_the_runtime_of_the_wheel(tmp_path: Path) -> None:
    """What an app would ship from the wheel's build, for the record: it is not for Android."""
    import ai_edge_litert

    runtime = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
    apk = write_apk(tmp_path / "x.apk", runtime.read_bytes())
    assert all("aligned to 4096 bytes" in problem for problem in page_problems(apk))


@pytest.mark.parametrize("content", [b"MZ no library at all", b"\x7fELF\x02\x01" + b"\xff" * 80])
def test_what_is_no_library_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"libx\.so"):
        page_problems(write_apk(tmp_path / "x.apk", content))


def test_what_is_no_apk_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.apk").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="is not an APK"):
        page_problems(tmp_path / "x.apk")


def test_the_command_says_it_and_fails(tmp_path: Path, library: bytes) -> None:
    good = write_apk(tmp_path / "good.apk", library)
    bad = write_apk(tmp_path / "bad.apk", library, shift=1)
    assert CliRunner().invoke(make_app(), ["page-check", str(good)]).exit_code == 0
    assert CliRunner().invoke(make_app(), ["page-check", str(bad)]).exit_code == 1
