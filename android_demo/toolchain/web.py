"""Builds the static page: our modules, the packages' files that they load, and a bundle.

The result is a folder of plain files: any web server can give it out, and nothing in it asks
another host for anything.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.downloads import (
    Say,
    ToolUnavailableError,
    android_cache,
    filled,
    quiet,
)
from android_demo.toolchain.projects import DEMO
from runtime.bundle import MANIFEST, open_bundle, resolve_inside
from runtime.errors import UserError
from runtime.files import files_below, sha256_of
from runtime.manifest import Manifest
from runtime.provisioning.tools import run_tool

WEB = DEMO / "web"
FORMATS = ("onnx", "tflite")
TOKENIZERS = ("WordPiece", "BPE")
BUNDLE = "bundle"

_NPM_SECONDS = 900
_PROJECT = ("package.json", "package-lock.json", ".npmrc")
_PAGE = ("index.html", "*.css", "*.mjs", "sessions/*.mjs")
# File of the page → file of a package. index.html and the session modules name the former.
_VENDOR = {
    "tokenizers/tokenizers.min.mjs": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
    "onnxruntime/ort.wasm.bundle.min.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "onnxruntime/ort-wasm-simd-threaded.wasm": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "litert/index.js": "@litertjs/core/dist/index.js",
    "litert/wasm-utils.js": "@litertjs/wasm-utils/dist/index.js",
    "litert/litert_wasm_compat_internal.js": "@litertjs/core/wasm/litert_wasm_compat_internal.js",
    "litert/litert_wasm_compat_internal.wasm": (
        "@litertjs/core/wasm/litert_wasm_compat_internal.wasm"
    ),
}
_PACKAGES = ("@huggingface/tokenizers", "@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web")
_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "network")


@dataclass(frozen=True, slots=True)
class Site:
    """A built page.

    Attributes:
        folder: to give out.
        manifest: of the bundle in it.
        page, runtimes, bundle: bytes of our own files, of the packages' and of the bundle's. A
            browser loads only the runtime and the artifact that it runs.
    """

    folder: Path
    manifest: Manifest
    page: int
    runtimes: int
    bundle: int


def packages(say: Say = quiet) -> Path:
    """The folder ``node_modules`` as package-lock.json has it, fetched if it is not there.

    Raises:
        ToolUnavailableError: npm is not installed, or there is no network.
        UserError: npm refuses the lock file, or a file is not the one that it names.
    """
    if shutil.which("npm") is None:
        raise ToolUnavailableError(
            "npm is not installed",
            why="the page's packages are fetched with it",
            todo="install Node.js 20 or newer",
        )
    request = {name: sha256_of(WEB / name) for name in _PROJECT}

    def fill(new: Path) -> None:
        say("fetching the page's packages with npm (once)")
        for name in _PROJECT:
            shutil.copyfile(WEB / name, new / name)
        # The lock file carries a hash of every package, and npm compares them.
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        done = run_tool("npm", "ci", *flags, folder=new, timeout=_NPM_SECONDS)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            is_network = any(word in done.stderr for word in _NETWORK)
            raise (ToolUnavailableError if is_network else UserError)(
                "npm could not fetch the page's packages",
                why=" ".join(lines[:3]),
                todo="try again with a network" if is_network else "",
            )

    return filled(android_cache() / "web-packages", request, fill) / "node_modules"


def build_site(bundle: Path, out: Path, say: Say = quiet) -> Site:
    """Build the page with a bundle in it.

    Args:
        bundle: a bundle's folder; it is verified first.
        out: the page's folder, replaced if it is one; a reader sees the old page or the new one.
        say: told what is done.

    Raises:
        BundleError: the bundle is not as its manifest says.
        UserError: a browser cannot run it, `out` holds something else, or npm fails.
    """
    manifest = open_bundle(bundle).manifest
    _fits_a_browser(manifest)
    if out.is_symlink() or (out.exists() and not _is_site(out)):
        raise UserError(
            f"{out} holds something that is not such a page",
            todo="name another folder with --out, or move it out of the way",
        )
    modules = packages(say)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        new = work / "new"
        _copy_page(new)
        _copy_packages(modules, new / "vendor")
        _copy_bundle(bundle, manifest, new / BUNDLE)
        if out.exists():
            out.rename(work / "old")
        new.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    runtimes, inside = _size(out / "vendor"), _size(out / BUNDLE)
    return Site(out, manifest, _size(out) - runtimes - inside, runtimes, inside)


def _fits_a_browser(manifest: Manifest) -> None:
    if manifest.task.gives_vectors:
        raise UserError(
            f"{manifest.name} gives sentence vectors and no labels",
            why="the page shows labels",
            todo="export a classifier: make export TARGET=onnx",
        )
    if manifest.tokenizer.type not in TOKENIZERS:
        raise UserError(
            f"{manifest.name} has a tokenizer of the type {manifest.tokenizer.type}",
            why="the page has WordPiece and byte-level BPE",
            todo="export a model of another family, such as distilbert or roberta",
        )
    formats = {artifact.format for artifact in manifest.artifacts}
    if not formats.intersection(FORMATS):
        raise UserError(
            f"{manifest.name} has nothing that a browser runs",
            why=f"its formats are {', '.join(sorted(formats))}",
            todo="export it with TARGET=onnx or TARGET=tflite",
        )


def _is_site(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return not any(folder.iterdir()) or all(
        (folder / name).exists() for name in ("index.html", "app.mjs", "vendor")
    )


def _copy_page(folder: Path) -> None:
    for pattern in _PAGE:
        for path in sorted(WEB.glob(pattern)):
            _copy(path, folder / path.relative_to(WEB))


def _copy_packages(modules: Path, folder: Path) -> None:
    for name, path in _VENDOR.items():
        _copy(modules / path, folder / name)
    notices = []
    for package in _PACKAGES:
        about = json.loads((modules / package / "package.json").read_text(encoding="utf-8"))
        notices.append(f"{about['name']} {about['version']}, {about['license']}")
        licence = modules / package / "LICENSE"
        if licence.is_file():
            _copy(licence, folder / f"LICENSE-{package.strip('@').replace('/', '-')}.txt")
    (folder / "NOTICES.txt").write_text("\n".join(notices) + "\n", encoding="utf-8")


def _copy_bundle(bundle: Path, manifest: Manifest, folder: Path) -> None:
    """What the page reads: the manifest, its files, and the artifacts that a browser runs."""
    artifacts = [artifact.path for artifact in manifest.artifacts if artifact.format in FORMATS]
    for name in [MANIFEST, *(file.path for file in manifest.files), *artifacts]:
        _copy(resolve_inside(bundle, name), folder / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_below(folder))
