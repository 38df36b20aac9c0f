"""What people see of `hamgr sandbox`: sentences, exit codes, and what to type next."""

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hamgr_sandbox.cli import _tell, sandbox
from hamgr_sandbox.cluster import Sandbox

from hamgr.api.exits import Exit


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(sandbox, ["--dir", str(directory), *arguments])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], Exit.UNAVAILABLE, "start one with `hamgr sandbox up`"),
        (["crash", "n1"], Exit.UNAVAILABLE, "no sandbox is up"),
        (["kubeconfig"], Exit.UNAVAILABLE, "no sandbox is up"),
        (["up", "--nodes", "99"], Exit.USAGE, "1 to 15 nodes, not 99"),
        (["up", "--kubeconfig", "/nowhere"], Exit.CONFIG, "there is no kubeconfig /nowhere"),
        (["slow-disk"], Exit.USAGE, "say how slow"),
        (["partition", "n1", "--from", "mars"], 2, "'mars' is not one of"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    result = run(tmp_path / "sandbox", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_down_without_a_sandbox_is_no_error(tmp_path: Path) -> None:
    assert run(tmp_path / "sandbox", "down").exit_code == 0
    assert not (tmp_path / "sandbox").exists()


@pytest.mark.etcd
def test_an_up_that_fails_leaves_nothing_that_looks_like_a_sandbox(tmp_path: Path) -> None:
    """Each command would stumble over what is missing, where `no sandbox is up` is the answer."""

    def full(_line: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        Sandbox(tmp_path / "sandbox").up(report=full)
    for arguments in (["status"], ["hang-detach"], ["crash", "n1"]):
        failed = run(tmp_path / "sandbox", *arguments)
        assert (failed.exit_code, "no sandbox is up" in failed.stderr) == (Exit.UNAVAILABLE, True), arguments


def test_progress_into_a_closed_pipe_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("hamgr_sandbox.cli.click.echo", closed)
    _tell("started etcd")


def test_help_is_quick_because_it_imports_no_client() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from hamgr_sandbox.cli import sandbox;"
        "assert CliRunner().invoke(sandbox, ['--help']).exit_code == 0;"
        "print([name for name in ('aiohttp', 'kubernetes', 'grpc', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.root
@pytest.mark.etcd
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and loop devices need root")
def test_a_session_with_a_sandbox(tmp_path: Path) -> None:
    directory = tmp_path / "a sandbox"
    try:
        up = run(directory, "up", "--nodes", "1", "--no-hamgrd")
        assert up.exit_code == 0, up.output
        assert "started etcd" in up.output
        assert 'eval "$(hamgr sandbox env)"' in up.output
        again = run(directory, "up")
        assert again.exit_code == Exit.ERROR
        assert "hamgr sandbox down" in again.stderr

        environment = dict(shlex.split(line)[1].split("=", 1) for line in run(directory, "env").output.splitlines())
        nodes = subprocess.run(
            ["kubectl", "get", "nodes", "-o", "name"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert nodes.stdout == "node/n1\n"
        assert Path(environment["HAMGR_CONFIG"]).is_file()

        assert run(directory, "partition", "n1", "--from", "etcd", "--direction", "in").exit_code == 0
        assert "cut off from etcd (in)" in run(directory, "status").output
        assert run(directory, "heal", "n1").exit_code == 0
        assert "cut off" not in run(directory, "status").output
        assert run(directory, "crash", "n1").exit_code == 0
        shown = json.loads(run(directory, "status", "--output", "json").output)
        assert [node["state"] for node in shown["nodes"]] == ["crashed"]
        assert run(directory, "crash", "nirvana").exit_code == Exit.NO_HOST
        assert run(directory, "kill", "nobody").exit_code == Exit.NO_OBJECT
        assert run(directory, "logs", "nobody").exit_code == Exit.NO_OBJECT
        assert run(directory, "start", "n1").exit_code == 0
        assert run(directory, "kill", "kubelet@n1", "--stay-down").exit_code == 0
        assert "kubelet is down" in run(directory, "status").output
        assert run(directory, "start", "kubelet@n1").exit_code == 0
        assert run(directory, "hang-detach").exit_code == 0
        assert run(directory, "hang-detach", "--off").exit_code == 0
    finally:
        assert run(directory, "down").exit_code == 0
    assert run(directory, "status").exit_code == Exit.UNAVAILABLE
