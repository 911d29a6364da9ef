"""Fixtures for more than one file of tests."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.shell import Shell


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; torch is imported only if it is asked for."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting:
        import torch

        for item in wanting if not torch.cuda.is_available() else ():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Have every test draw the same numbers, whatever ran before it; torch is seeded where it is there already."""
    random.seed(0)
    modules: dict[str, Any] = dict(sys.modules)
    if "numpy" in modules:
        modules["numpy"].random.seed(0)
    if "torch" in modules:
        modules["torch"].manual_seed(0)


class Mirror:
    """A web server on this machine with the answers that a mirror of data may give.

    Attributes:
        files: the body of each file, by name; others are answered with 404.
        claims: the length to declare, by name, where it is not the body's.
        stuck: names of files that stop half-way until `release` is set.
        asked: the names of the files that were asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.claims: dict[str, int] = {}
        self.stuck: set[str] = set()
        self.asked: list[str] = []
        self.release = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.asked.append(name)
                if name not in mirror.files:
                    self.send_error(404)
                    return
                body = mirror.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(mirror.claims.get(name, len(body))))
                self.end_headers()
                try:
                    if name in mirror.stuck:
                        self.wfile.write(body[: len(body) // 2])
                        mirror.release.wait(30)
                        body = body[len(body) // 2 :]
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # the client was killed: what some tests are about

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/data"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Stop answering; afterwards the address refuses connections."""
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mirror, Mirror]]:
    """Two mirrors on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pair = Mirror(), Mirror()
    yield pair
    for mirror in pair:
        mirror.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Yield the command line, whose processes execute nothing that lies in their working directory."""
    yield Shell(tmp_path)
    assert not (tmp_path / "executed").exists()
