"""A gateway to a stand-in API server of this test alone, and servers that misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hamgr_sandbox.apiserver.threaded import in_thread

from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube

OpenKube = Callable[..., Kube]


def write_kubeconfig(path: Path, server: str, token: str = "", **cluster: str) -> Path:
    """A kubeconfig of one context (JSON is YAML)."""
    user = {"token": token} if token else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server} | cluster}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def open_kube(tmp_path: Path) -> Iterator[OpenKube]:
    """Gateways to a server by its URL, with short timeouts; closed after the test."""
    opened: list[Kube] = []

    def opener(server: str, token: str = "", cluster: dict[str, str] | None = None, **settings: Any) -> Kube:
        path = write_kubeconfig(tmp_path / f"kubeconfig-{len(opened)}", server, token, **(cluster or {}))
        timeouts = {"connect_timeout_s": 1.0, "read_timeout_s": 2.0} | settings
        opened.append(Kube(KubeConfig(kubeconfig=path, **timeouts)))
        return opened[-1]

    yield opener
    for kube in opened:
        kube.close()


@pytest.fixture
def kube(open_kube: OpenKube) -> Iterator[Kube]:
    """A gateway to an empty stand-in API server."""
    with in_thread() as url:
        yield open_kube(url)


class ScriptedServer:
    """An HTTP server whose answers a test writes: ``script`` is called with (method, path, body, request number)."""

    def __init__(self, script: Callable[[str, str, bytes, int], tuple[int, dict[str, str], Any]]) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                code, headers, content = script(self.command, self.path, body, len(outer.requests))
                self._send(code, headers, content)

            def _send(self, code: int, headers: dict[str, str], content: Any) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  http.server's names

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Servers that follow a script, closed after the test."""
    servers: list[ScriptedServer] = []

    def start(script: Callable[[str, str, bytes, int], tuple[int, dict[str, str], Any]]) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
