"""`python -m hamgr_sandbox.apiserver` as a process: readiness, HTTPS, tokens, signals, exit codes."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "hamgr_sandbox.apiserver"]


@contextmanager
def server(tmp_path: Path, *options: str) -> Iterator[tuple[list[str], subprocess.Popen[bytes]]]:
    ready = tmp_path / "ready"
    process = subprocess.Popen([*COMMAND, "--ready-file", str(ready), *options], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if ready.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        yield ready.read_text().split(), process
    finally:
        process.kill()
        process.wait()


def get(url: str, context: ssl.SSLContext | None = None, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            json.load(response)
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_listens_where_it_says_and_ends_on_sigterm(tmp_path: Path) -> None:
    with server(tmp_path, "--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0") as (urls, process):
        assert [url.rpartition(":")[0] for url in urls] == ["http://127.0.0.1", "http://127.0.0.2"]
        for url in urls:
            assert get(f"{url}/api/v1/namespaces/default") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_https_with_client_certificates_and_tokens(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text('secret,hamgr,1,"ha"\n')
    tls = tmp_path / "tls"
    options = ("--listen", "127.0.0.1:0", "--tls-dir", str(tls), "--token-file", str(tokens))
    with server(tmp_path, *options) as ((url,), _):
        known = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        assert url.startswith("https://")
        assert get(f"{url}/api/v1/nodes", known) == 401
        assert get(f"{url}/api/v1/nodes", known, token="wrong") == 401
        assert get(f"{url}/api/v1/nodes", known, token="secret") == 200
        known.load_cert_chain(tls / "admin.pem")
        assert get(f"{url}/api/v1/nodes", known) == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"{url}/api/v1/nodes", ssl.create_default_context())
    authority = (tls / "ca.crt").read_bytes()
    again = tmp_path / "again"
    again.mkdir()
    with server(again, *options) as ((url,), _):
        assert get(f"{url}/api/v1/nodes", known) == 200
        assert (tls / "ca.crt").read_bytes() == authority


def test_a_killed_server_comes_back_with_its_objects(tmp_path: Path) -> None:
    options = ("--listen", "127.0.0.1:0", "--journal", str(tmp_path / "journal"))
    body = json.dumps({"metadata": {"name": "kept"}, "data": {"a": "b"}}).encode()
    with server(tmp_path, *options) as ((url,), process):
        request = urllib.request.Request(f"{url}/api/v1/namespaces/default/configmaps", data=body)
        urllib.request.urlopen(request, timeout=10).close()
        process.kill()
    again = tmp_path / "again"
    again.mkdir()
    with server(again, *options) as ((url,), _):
        assert get(f"{url}/api/v1/namespaces/default/configmaps/kept") == 200
    (tmp_path / "journal").write_text("nonsense\n")
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 66
    assert "line 1 is not a record" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--listen", "nowhere"], 64, "ADDRESS:PORT"),
        (["--listen", "192.0.2.1:1"], 69, "cannot listen on 192.0.2.1:1"),
        (["--listen", "127.0.0.1:0", "--token-file", "/nonexistent/tokens"], 66, "/nonexistent/tokens"),
    ],
)
def test_what_cannot_be_started_says_why(options: list[str], code: int, words: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
