"""The real `datasets` client against a hub on this machine that knows two repositories."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMIT = "a" * 40
ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(30)]
CARD = """---
configs:
- config_name: small
  data_files: rows.jsonl
- config_name: other
  data_files: rows.jsonl
---
"""
REPOSITORIES = {
    "org/rows": {
        "README.md": CARD.encode(),
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    },
    "org/script": {
        "README.md": b"a script",
        "script.py": b"import pathlib; pathlib.Path('ran').touch(); raise SystemExit(9)",
    },
}
CLIENT = """
import sys
from export.data import *
from runtime.errors import UserError
try:
    found = load_dataset(DataSettings(source=sys.argv[1], revision=sys.argv[2]))
    print(found.name, found.labels, [len(rows) for rows in found.splits.values()])
except UserError as error:
    print(error)
"""


class _Hub(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api").removeprefix("/datasets/")
        name = "/".join(path.split("/")[:2])
        files = REPOSITORIES.get(name)
        if files is None:
            return self._answer(404, X_Error_Code="RepoNotFound")
        tags = {file: hashlib.sha1(data).hexdigest() for file, data in files.items()}
        if "/resolve/" in path:
            file = path.partition("/resolve/")[2].partition("/")[2]
            if file not in files:
                return self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            return self._answer(200, files[file], X_Repo_Commit=COMMIT, ETag='"' + tags[file] + '"')
        listing = [
            {"type": "file", "path": file, "size": len(data), "oid": tags[file]}
            for file, data in files.items()
        ]
        about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        return self._answer(200, json.dumps(listing if "/tree/" in path else about).encode())

    do_HEAD = do_GET  # noqa: N815 - names are the server's


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    pytest.importorskip("datasets")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hub:org/rows:small", "org/rows:small ('a', 'b') [24, 3, 3]"),
        ("hub:org/rows", "org/rows cannot be loaded from the hub. Config name is missing"),
        ("hub:org/rows:large", "org/rows:large cannot be loaded from the hub. BuilderConfig"),
        ("hub:org/gone", "the hub has no data set org/gone that you may read."),
        ("hub:org/script", "org/script cannot be loaded from the hub."),
    ],
)
def test_the_client(tmp_path: Path, endpoint: str, source: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, source, "main"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith(said)
    assert not (tmp_path / "ran").exists()
