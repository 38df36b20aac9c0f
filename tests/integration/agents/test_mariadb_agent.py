"""The mariadb agent asks a real MariaDB server; only silence counts as trouble."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.mariadb import MariaDbAgent, _locked

from hamgr.executor.agent import ActionContext, ActionTimeout
from hamgr.executor.ocf import Ocf
from hamgr.kube.errors import Barred
from hamgr.kube.gate import unless_called_off
from hamgr.kube.objects import SECRET

Context = Callable[..., ActionContext]

pytestmark = [
    pytest.mark.mariadb,
    pytest.mark.skipif(
        not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")), reason="no MariaDB server here"
    ),
]


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def sql(self, *statements: str) -> list[Any]:
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", password="secret", autocommit=True, read_timeout=20
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed, empty database, to be copied."""
    target = tmp_path_factory.mktemp("mariadb") / "template"
    owner = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={target}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *owner,
        ],
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture
def server(datadir: Path, tmp_path: Path) -> Iterator[Server]:
    """A server whose root has the password "secret", from everywhere."""
    data = tmp_path / "data"
    shutil.copytree(datadir, data)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    init = tmp_path / "init.sql"
    init.write_text(  # one statement a line
        "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';\n"
        "FLUSH PRIVILEGES;\n"
        "CREATE USER root@'%' IDENTIFIED BY 'secret';\n"
        "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n"
        "ALTER USER root@localhost IDENTIFIED BY 'secret';\n"
    )
    process = subprocess.Popen(
        [
            "mariadbd",
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={tmp_path}/s",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=16M",
            "--skip-name-resolve",
            f"--init-file={init}",
            f"--pid-file={tmp_path}/pid",
            *(["--user=root"] if os.geteuid() == 0 else []),
        ],
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "log").open("wb"),
    )
    made = Server(port, process)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return bool(made.sql("SELECT 1"))
        except pymysql.MySQLError:
            return False

    try:
        wait_until(answers)
        yield made
    finally:
        made.thaw()
        process.kill()
        process.wait()


@pytest.fixture
def params(server: Server, world: ScriptedCluster) -> dict[str, Any]:
    """A template whose root password comes from a Secret."""
    password = base64.b64encode(b"secret").decode()
    world.kube.post(SECRET.collection("default"), {"metadata": {"name": "db-root"}, "data": {"pw": password}})
    env = {"name": "MARIADB_ROOT_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db-root", "key": "pw"}}}
    template = {"containers": [{"name": "main", "image": "mariadb:10.11", "env": [env]}]}
    return {"template": template, "sql_port": str(server.port), "sql_timeout": "300ms", "restart_grace": "10s"}


def monitored(context: Context, params: dict[str, Any]) -> tuple[MariaDbAgent, ActionContext, list[float]]:
    """A started database, and a context whose clock the test holds."""
    agent = MariaDbAgent()
    assert agent.perform("start", context("db", "n1", **params)).rc is Ocf.OK
    now = [1000.0]
    ctx = replace(context("db", "n1", **params), clock=lambda: now[0], deadline=1e9)
    wait_until(lambda: agent.perform("monitor", ctx).reason == "")
    return agent, ctx, now


def test_started_means_that_it_answers(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    server.freeze()
    agent = MariaDbAgent()
    with pytest.raises(ActionTimeout, match="MariaDB in pod db-n1 does not answer"):
        agent.perform("start", context("db", "n1", timeout_s=1.0, **params))
    server.thaw()
    assert agent.perform("start", context("db", "n1", **params)).rc is Ocf.OK


def test_a_hung_server_has_the_grace_and_no_more(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, now = monitored(context, params)
    assert agent.perform("monitor", ctx).heard
    server.freeze()
    first = agent.perform("monitor", ctx)
    assert (first.rc, first.heard) == (Ocf.OK, False)
    assert "does not answer" in first.reason
    now[0] += 10.1
    late = agent.perform("monitor", ctx)
    assert late.rc is Ocf.ERR_GENERIC
    assert "longer than 10 s" in late.reason
    server.thaw()
    assert agent.perform("monitor", ctx).rc is Ocf.OK


def test_a_refusal_is_an_answer(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, now = monitored(context, params)
    wrong = base64.b64encode(b"wrong").decode()
    world.kube.patch_merge(SECRET.path("db-root", "default"), {"data": {"pw": wrong}})
    for _ in range(2):
        now[0] += 20
        result = agent.perform("monitor", ctx)
        assert result.rc is Ocf.OK
        assert "refuses the monitoring account's password" in result.reason
        assert result.heard
    world.kube.patch_merge(SECRET.path("db-root", "default"), {"data": {"pw": None}})
    unasked = agent.perform("monitor", ctx)
    assert "Secret default/db-root has no key pw" in unasked.reason
    assert not unasked.heard


def connect_if_possible(server: Server) -> Any:
    try:
        return pymysql.connect(host="127.0.0.1", port=server.port, user="root", password="secret")
    except pymysql.err.OperationalError:
        return None


def test_a_server_without_free_connections_is_alive(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, now = monitored(context, params)
    server.sql("SET GLOBAL max_connections = 10")
    held: list[Any] = []
    try:
        while len(held) < 12 and (connection := connect_if_possible(server)):
            held.append(connection)
        now[0] += 20
        result = agent.perform("monitor", ctx)
        assert result.rc is Ocf.OK
        assert "has no connection left" in result.reason
    finally:
        for connection in held:
            connection.close()


def test_the_write_probe_notices_what_a_query_does_not(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, now = monitored(context, params | {"write_probe": "true"})
    assert server.sql("SELECT COUNT(*) FROM hamgr.probe") == [(1,)]
    blocker = pymysql.connect(host="127.0.0.1", port=server.port, user="root", password="secret")
    try:
        with blocker.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
        first = agent.perform("monitor", ctx)
        assert "does not answer" in first.reason
        now[0] += 10.1
        assert agent.perform("monitor", ctx).rc is Ocf.ERR_GENERIC
    finally:
        blocker.close()


def test_a_session_of_a_past_leader_is_ended_before_the_next_one_writes(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    """It was frozen in the middle of its action: what it still says is void, and its account goes on serving others."""
    agent, ctx, _ = monitored(context, params | {"write_probe": "true"})
    past, other = (
        pymysql.connect(host="127.0.0.1", port=server.port, user="root", password="secret") for _ in range(2)
    )
    with past.cursor() as cursor, other.cursor() as unrelated:
        assert _locked(cursor, 0)
        unrelated.execute("SELECT 1")
        assert agent.perform("monitor", ctx).reason == ""
        with pytest.raises(pymysql.OperationalError):
            cursor.execute("REPLACE INTO hamgr.probe VALUES (2, '2000-01-01')")
        unrelated.execute("SELECT id FROM hamgr.probe")
        assert unrelated.fetchall() == ((1,),)
    other.close()


def test_nothing_is_written_in_sql_by_whom_the_gate_refuses(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, _ = monitored(context, params | {"write_probe": "true"})
    server.sql("DELETE FROM hamgr.probe")
    assert ctx.kube is not None
    late = replace(ctx, kube=ctx.kube.behind(unless_called_off(lambda: False)))
    with pytest.raises(Barred):
        agent.perform("monitor", late)
    assert server.sql("SELECT * FROM hamgr.probe") == []
    assert agent.perform("monitor", ctx).rc is Ocf.OK
    assert server.sql("SELECT COUNT(*) FROM hamgr.probe") == [(1,)]


def test_the_monitors_leave_no_connections_behind(
    world: ScriptedCluster, context: Context, params: dict[str, Any], server: Server
) -> None:
    agent, ctx, _ = monitored(context, params)
    for _ in range(20):
        assert agent.perform("monitor", ctx).rc is Ocf.OK
    wait_until(lambda: len(server.sql("SHOW PROCESSLIST")) <= 2)
