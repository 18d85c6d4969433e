"""What the page's tests share: a built page, a browser on it, and a record of what it asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from android_demo.toolchain.browser import browser_page
from android_demo.toolchain.web_server import served
from runtime.bundle import MANIFEST
from runtime.files import canonical_json, sha256_of


@dataclass(frozen=True, slots=True)
class Visit:
    """A page in a browser.

    Attributes:
        page: Playwright's.
        url: of the page.
        requests: every address that was asked for since it was opened.
        errors: exceptions that nobody caught.
    """

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def choose(self, artifact: str) -> None:
        """Switch to another artifact and wait for its answer."""
        self.page.select_option("#artifact", artifact)
        # The page names the runtime once the artifact is loaded.
        self.page.wait_for_selector(f"body[data-state=ready][data-artifact='{artifact}']")

    def answer(self, text: str) -> str:
        """Type a text; what the page says of it."""
        self.page.evaluate("document.querySelector('#answer').textContent = ''")
        self.page.fill("#text", text)
        self.page.wait_for_selector("#answer:not(:empty)")
        return str(self.page.inner_text("#answer"))

    def error(self) -> str:
        """The sentence on the page, empty if there is none."""
        return str(self.page.text_content("#error"))


@contextmanager
def visit(site: Path, **window: Any) -> Iterator[Visit]:
    """Open a built page, wait until its bundle is open or refused."""
    with served(site) as url, browser_page(**window) as page:
        page.set_default_timeout(60_000)
        opened = Visit(page, url)
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.goto(url)
        # Not wait_for_function: it needs eval, which the page's security policy forbids.
        page.wait_for_selector("#answer:not(:empty), #error:not([hidden])")
        yield opened


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a bundle's manifest."""
    path = bundle / MANIFEST
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(canonical_json(value), encoding="utf-8")


def change_file(bundle: Path, name: str, change: Callable[[Any], None]) -> None:
    """Rewrite a JSON file of a bundle, with the manifest's size and hash as they then are."""
    path = bundle / name
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")

    def renew(manifest: dict[str, Any]) -> None:
        entry = next(entry for entry in manifest["files"] if entry["path"] == name)
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}

    change_manifest(bundle, renew)


def flip_byte(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
