"""The page in a real browser without a screen: Chromium, driven by Playwright.

Playwright's own browsers are never downloaded; the one that is installed is used.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from android_demo.toolchain.downloads import Say, ToolUnavailableError, quiet
from android_demo.toolchain.jvm import Answer
from android_demo.toolchain.web import build_site
from android_demo.toolchain.web_server import served
from runtime.errors import UserError
from runtime.provisioning.tools import run_tool

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_INSTALL = "apt-get install chromium"
_APT_SECONDS = 1200
# A browser makes connections of its own; these keep it to the page.
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_LOAD_MILLISECONDS = 300_000
_BATCH = 32

# Loads the page's own modules, which the page itself has loaded already.
_START = """async (path) => {
  const [{ Bundle }, { servedSource }, { TextClassifier }] = await Promise.all(
    ["bundle.mjs", "sources.mjs", "classifier.mjs"].map((name) => import(`/${name}`)));
  try {
    const bundle = await Bundle.open(servedSource(new URL("bundle/", document.baseURI)));
    window.classifier = await TextClassifier.load(bundle, bundle.artifact(path));
    return null;
  } catch (error) { return error.message; }
}"""
_CLASSIFY = """async (texts) => {
  const answers = [];
  for (const text of JSON.parse(texts)) {
    const { ids, logits, labels, probabilities } = await window.classifier.classify(text);
    answers.push({ ids, logits: Array.from(logits), labels, probabilities });
  }
  return answers;
}"""


def find_chromium() -> str:
    """The browser: ``$CHROMIUM``, or the first that is on PATH.

    Raises:
        ToolUnavailableError: there is none.
    """
    if chosen := os.environ.get("CHROMIUM"):
        if shutil.which(chosen) is None:
            raise UserError(f"CHROMIUM names {chosen}", why="there is no such program")
        return chosen
    for name in (*_NAMES, _MACOS):
        if (path := shutil.which(name)) is not None:
            return path
    raise ToolUnavailableError(
        "no Chromium or Chrome is installed", todo=f"{_INSTALL}, or set CHROMIUM to its path"
    )


def install_chromium(say: Say = quiet) -> str:
    """The browser, installed by apt if it is missing: for a make target or CI, run as root.

    Raises:
        ToolUnavailableError: it is missing and cannot be installed here.
    """
    try:
        return find_chromium()
    except ToolUnavailableError:
        if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
    say(f"installing the browser for the page's tests: {_INSTALL}")
    for arguments in (("update",), ("install", "--yes", "--no-install-recommends", "chromium")):
        done = run_tool(
            "apt-get",
            "--quiet",
            *arguments,
            environment=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            timeout=_APT_SECONDS,
        )
        if done.returncode:
            raise ToolUnavailableError(
                "Chromium could not be installed", why=" ".join(done.stderr.split())[-300:]
            )
    return find_chromium()


def missing() -> str | None:
    """Why the page cannot be driven here, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install 'mobile-export[browser]'"
    if shutil.which("npm") is None:
        return "npm is not installed"
    try:
        find_chromium()
    except UserError as error:
        return str(error)
    return None


@contextmanager
def browser_page(*, width: int = 1000, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """An empty page of a new browser without a screen.

    Args:
        width: of the window, in CSS pixels; so is `height`.
        height: see `width`.
        dark: the user prefers dark colours.

    Raises:
        ToolUnavailableError: see `missing`.
        UserError: the browser cannot be started.
    """
    if reason := missing():
        raise ToolUnavailableError(reason)
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(),
                args=list(_FLAGS),
                # Root has no sandbox; nobody else goes without.
                chromium_sandbox=os.geteuid() != 0,
            )
        except Error as error:
            raise UserError(
                "the browser cannot be started", why=str(error).splitlines()[0]
            ) from error
        with browser:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
            )
            page.set_default_timeout(_LOAD_MILLISECONDS)
            yield page


def browser_answers(
    bundle: Path, artifact: str, texts: Iterable[str], say: Say = quiet
) -> Iterator[Answer]:
    """What the page makes of texts, in their order.

    Args:
        bundle: a bundle's folder; a page with it is built in a temporary folder.
        artifact: its path in the manifest.
        texts: any code points, lone surrogates too.
        say: told what is done.

    Raises:
        ToolUnavailableError: no browser, playwright or npm.
        UserError: the page refuses the bundle or the artifact, in its own words.
    """
    with tempfile.TemporaryDirectory(prefix="mobile-export-page-") as folder:
        site = build_site(bundle, Path(folder) / "site", say)
        with served(site.folder) as url, browser_page() as page:
            page.goto(url)
            if refusal := page.evaluate(_START, artifact):
                raise UserError(str(refusal))
            batch: list[str] = []
            for text in texts:
                batch.append(text)
                if len(batch) == _BATCH:
                    yield from _classified(page, batch)
                    batch = []
            yield from _classified(page, batch)


def _classified(page: Page, texts: list[str]) -> list[Answer]:
    # As JSON of its own: Playwright's protocol is UTF-8, which lone surrogates do not survive.
    answers: list[Answer] = page.evaluate(_CLASSIFY, json.dumps(texts))
    return answers
