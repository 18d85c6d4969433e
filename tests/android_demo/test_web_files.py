"""The page's own files, without a browser: pins, hashes and hosts."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from android_demo.toolchain.web import WEB

LOCK = json.loads((WEB / "package-lock.json").read_bytes())
PAGE = (WEB / "index.html").read_text(encoding="utf-8")


def test_versions_are_exact_and_the_lock_file_has_them_with_hashes() -> None:
    wanted = json.loads((WEB / "package.json").read_bytes())["dependencies"]
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version
    for name, entry in LOCK["packages"].items():
        if name:
            assert entry["integrity"].startswith("sha512-"), name
            assert "resolved" not in entry, "names the registry's host"


def test_the_session_tells_the_version_of_the_lock_file() -> None:
    source = (WEB / "sessions" / "litert.mjs").read_text(encoding="utf-8")
    version = LOCK["packages"]["node_modules/@litertjs/core"]["version"]
    assert f'VERSION = "{version}"' in source


def test_the_policy_allows_the_import_map_and_nothing_else_inline() -> None:
    (inline,) = re.findall(r'<script type="importmap">(.*?)</script>', PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', PAGE)
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'"
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert not re.search(r"\son\w+=|style=", PAGE)


def test_no_file_names_another_host() -> None:
    files = [*WEB.glob("*.*"), *WEB.glob("sessions/*"), WEB / ".npmrc"]
    assert len(files) > 15
    for path in files:
        if path.name == "package-lock.json":
            continue  # checked above; its "funding" entries are addresses for people
        found = re.findall(r"https?://[^\s\"'`]+", path.read_text(encoding="utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path
