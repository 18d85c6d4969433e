from __future__ import annotations

from pathlib import Path

import pytest

from runtime.provisioning import apt_sources
from runtime.provisioning.apt_sources import (
    AptSource,
    debian_archives,
    parse_deb822,
    parse_lines,
    read_sources,
)

LINES = """\
# deb http://commented.invalid/debian bookworm main
deb http://plain.invalid/debian/ bookworm main contrib # and a remark
deb-src http://plain.invalid/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.invalid/apt bookworm main
deb [ trusted=yes ] file:/srv/own ./
nonsense
"""
PARAGRAPHS = """\
# made by the installer
Types: deb deb-src
URIs: http://one.invalid/debian
 http://two.invalid/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.invalid/debian
Suites: bookworm
Components: main
Enabled: no

types: deb
uris: http://key.invalid/debian
suites: trixie
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQIN
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_format() -> None:
    assert parse_lines(LINES) == [
        AptSource("http://plain.invalid/debian", ("bookworm",), ("main", "contrib")),
        AptSource(
            "https://vendor.invalid/apt",
            ("bookworm",),
            ("main",),
            "/usr/share/keyrings/vendor.gpg",
        ),
        AptSource("file:/srv/own", ("./",), ()),
    ]


def test_deb822_format() -> None:
    one, two, key = parse_deb822(PARAGRAPHS)
    assert (one.uri, two.uri) == ("http://one.invalid/debian", "http://two.invalid/debian")
    assert one.suites == two.suites == ("bookworm", "bookworm-updates")
    assert one.signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert key.uri == "http://key.invalid/debian"
    assert key.signed_by.splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert key.signed_by.splitlines()[-1] == " -----END PGP PUBLIC KEY BLOCK-----"


def test_both_formats_are_read_from_the_machines_folder(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.invalid/debian trixie main\n")
    (parts / "b.sources").write_text(PARAGRAPHS)
    (parts / "a.list").write_text("deb http://second.invalid/debian trixie main\n")
    (parts / "c.list.disabled").write_text("deb http://never.invalid/debian trixie main\n")
    assert [source.uri.split("/")[2] for source in read_sources(tmp_path)] == [
        "first.invalid",
        "second.invalid",
        "one.invalid",
        "two.invalid",
        "key.invalid",
    ]


def test_a_machine_without_apt_has_no_sources(tmp_path: Path) -> None:
    assert read_sources(tmp_path) == ()


def test_only_debians_own_main_archive_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(apt_sources.OVERRIDE, raising=False)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    good = AptSource("http://good.invalid/debian", ("bookworm",), ("main", "contrib"), keyring)
    found = debian_archives(
        (
            good,
            AptSource("http://good.invalid/debian", ("bookworm-updates",), ("main",), keyring),
            AptSource("http://security.invalid/d", ("bookworm-security",), ("main",), keyring),
            AptSource("http://vendor.invalid/apt", ("bookworm",), ("main",), "/etc/vendor.gpg"),
            AptSource("http://docker.invalid/apt", ("bookworm",), ("stable",), keyring),
            AptSource("http://ubuntu.invalid/ubuntu", ("noble",), ("main",)),
            AptSource("cdrom:[Debian]", ("bookworm",), ("main",), keyring),
        )
    )
    assert [(source.uri, source.components) for source in found] == [(good.uri, ("main",))]
    assert found[0].signed_by == keyring


def test_a_mirror_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt_sources.OVERRIDE, "http://mirror.invalid/debian/")
    (found,) = debian_archives(())
    assert found.uri == "http://mirror.invalid/debian"
    assert found.signed_by == str(apt_sources.KEYRING), "a mirror is no reason to trust it"
