"""A file server on this machine alone, for looking at the page and for driving it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from runtime.errors import UserError

HOST = "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    # Not the system's table, which may call a module text/plain; a browser then refuses it.
    extensions_map = {  # noqa: RUF012 - as the parent has it
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        """No listings."""
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        """No log."""


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a folder's files, not yet running.

    Args:
        folder: what it gives out.
        port: 0 takes a free one.

    Raises:
        UserError: the port is taken.
    """
    handler = functools.partial(_Files, directory=str(folder))
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be opened", why=str(error.strerror), todo="name another --port"
        ) from error


def address(server: ThreadingHTTPServer) -> str:
    """Its URL, with a slash at the end."""
    return f"http://{HOST}:{server.server_address[1]}/"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder in the background; yields the URL."""
    with make_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield address(server)
        finally:
            server.shutdown()
            thread.join()
