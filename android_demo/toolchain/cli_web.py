"""Commands: web and browser."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from android_demo.toolchain.browser import install_chromium
from android_demo.toolchain.web import build_site
from android_demo.toolchain.web_server import address, make_server
from runtime.console import err, megabytes, out


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("web")(web)
    app.command("browser")(browser)


def _tell(line: str) -> None:
    err.print(f"· {line}", style="dim", markup=False, soft_wrap=True)


def web(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, such as dist/tflite.")],
    folder: Annotated[
        Path, typer.Option("--out", help="Where the page goes; an older page is replaced.")
    ] = Path("dist/web"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Give the page out on this machine until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(help="For --serve.", min=0, max=65535)] = 8000,
) -> None:
    """Build the static page with a bundle in it."""
    site = build_site(bundle, folder, _tell)
    out.print(
        f"{site.folder}: page {megabytes(site.page)}, runtimes {megabytes(site.runtimes)}, "
        f"bundle {megabytes(site.bundle)}",
        markup=False,
        soft_wrap=True,
    )
    if not serve:
        command = f"python -m android_demo.toolchain web {bundle} --out {folder} --serve"
        out.print(f"next: {command}", markup=False, soft_wrap=True)
        out.print("or copy the folder to any web server; it needs https", markup=False)
        return
    with make_server(site.folder, port) as server:
        out.print(f"open {address(server)} (Ctrl-C ends it)", markup=False, soft_wrap=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def browser() -> None:
    """Install Chromium with apt if no browser is here (as root), for the page's tests."""
    out.print(install_chromium(_tell), markup=False, soft_wrap=True)
