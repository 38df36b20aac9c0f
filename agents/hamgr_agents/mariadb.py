"""The `mariadb` agent: a pod that is asked in SQL whether it still is a database.

Only the server's silence counts as trouble. A refused password or too many connections is an answer from a living
server, and restarting it would cure neither: such an answer is reported and nothing is done.
"""

from __future__ import annotations

import base64
from typing import Any, ClassVar

from hamgr.executor.agent import ActionContext
from hamgr.executor.metadata import Metadata, Parameter
from hamgr.kube.errors import KubeError
from hamgr.kube.objects import SECRET, Obj, name_of
from hamgr.kube.pods import address_of
from hamgr_agents.observation import access
from hamgr_agents.pod import ACTIONS, PARAMETERS, Answer, PodAgent
from hamgr_agents.pod_template import secret_behind

_PASSWORD_VARIABLES = ("MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD", "MARIADB_PASSWORD", "MYSQL_PASSWORD")
_DEFAULT_PORT = 3306
_ASK_S = 2.0

# Server error codes that a living server gives (mysqld_error.h): the account or its rights are wrong, or it is full.
_ALIVE = {
    1040: "has no connection left (max_connections)",
    1044: "does not let the monitoring account use the database",
    1045: "refuses the monitoring account's password",
    1129: "blocks this host after connection errors (FLUSH HOSTS)",
    1130: "does not accept connections from this host",
    1142: "does not let the monitoring account use the probe table",
    1203: "has no connection left for the monitoring account",
    1226: "has no query left for the monitoring account",
    1698: "refuses the monitoring account",
}

# Codes that the client itself makes up (errmsg.h; 0: none at all); every other one was sent by the server.
_OWN_CODES = (0, *range(2000, 3000))

_SESSION = "hamgr"  # the lock that a session of ours holds while it may write
_NO_SUCH_THREAD = 1094

_PROBE = (
    "CREATE DATABASE IF NOT EXISTS hamgr",
    "CREATE TABLE IF NOT EXISTS hamgr.probe (id INT PRIMARY KEY, at TIMESTAMP(3) NOT NULL) ENGINE=InnoDB",
    "REPLACE INTO hamgr.probe VALUES (1, CURRENT_TIMESTAMP(3))",
)


class MariaDbAgent(PodAgent):
    """See the module."""

    recheck_s: ClassVar[float] = 0.5
    metadata: ClassVar[Metadata] = Metadata(
        name="mariadb",
        version="1.0",
        shortdesc="Runs one MariaDB server in a pod and asks it in SQL",
        longdesc=(
            "A pod as the pod agent runs it, that is started when it answers a query and monitored by queries.\n"
            "The password is read from the Secret that the template names for MARIADB_ROOT_PASSWORD or "
            "MYSQL_ROOT_PASSWORD, unless secret and secret_key name another."
        ),
        parameters=(
            *PARAMETERS,
            Parameter("user", "Account that monitors", default="root", reloadable=True),
            Parameter("secret", "Secret with its password", reloadable=True),
            Parameter("secret_key", "Key of the password in the Secret", default="password", reloadable=True),
            Parameter("sql_port", "Port of the server. Default: port, else 3306.", type="integer", reloadable=True),
            Parameter(
                "sql_timeout",
                "Longest wait for one answer of the server",
                type="duration",
                default="3s",
                reloadable=True,
            ),
            Parameter(
                "write_probe",
                "Also write a row of table hamgr.probe in each monitor. It notices a full or read-only disk.",
                type="boolean",
                default="false",
                reloadable=True,
            ),
        ),
        actions=ACTIONS,
        exactly_one_of=(("template", "template_from", "image"),),
    )

    def ask(self, ctx: ActionContext, pod: Obj) -> Answer:
        """Trouble is the server's silence; what a living server complains about is a remark."""
        import pymysql  # 50 ms of import, and only here

        where = f"MariaDB in pod {name_of(pod)}"
        try:
            password = self._password(ctx, pod)
        except (KubeError, KeyError, ValueError) as error:
            return Answer(remark=f"{where} is not asked in SQL: {_sentence(error)}")
        try:
            self._query(ctx, address_of(pod), password)
        except pymysql.MySQLError as error:
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            said = str(error.args[-1]) if error.args else type(error).__name__
            if code in _ALIVE:
                return Answer(remark=f"{where} {_ALIVE[code]}: {said}", heard=True)
            return Answer(trouble=f"{where} does not answer: {said}", heard=code not in _OWN_CODES)
        except OSError as error:
            return Answer(trouble=f"{where} does not answer: {error}")
        return Answer(heard=True)

    def _query(self, ctx: ActionContext, address: str, password: str) -> None:
        """One connection, one query, each step bounded: connect_timeout alone does not bound the handshake.

        SQL knows no precondition. So what writes passes the leadership's gate before it connects, and ends the session
        of whoever wrote for us before, a leader that was frozen in the middle of it say. Raises also Barred.
        """
        import pymysql

        bound = max(min(ctx.seconds("sql_timeout"), ctx.left_s()), 0.1)
        writes = _PROBE if ctx.flag("write_probe") else ()
        if writes:
            bound = access(ctx).kube.admit(f"SQL to {address}", bound)
        connection: Any = pymysql.connect(
            host=address,
            port=ctx.number("sql_port") or ctx.number("port") or _DEFAULT_PORT,
            user=ctx.text("user"),
            password=password,
            connect_timeout=max(round(bound), 1),
            read_timeout=bound,
            write_timeout=bound,
            autocommit=True,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                if writes:
                    _end_others(cursor)
                for statement in writes:
                    cursor.execute(statement)
        finally:
            connection.close()

    def _password(self, ctx: ActionContext, pod: Obj) -> str:
        """Raises KubeError, KeyError (no such key), ValueError (not base64)."""
        named = (ctx.text("secret"), ctx.text("secret_key")) if ctx.text("secret") else None
        source = named or secret_behind(pod, _PASSWORD_VARIABLES)
        if source is None:
            return ""
        secret, key = source
        found = access(ctx).kube.get(SECRET.path(secret, ctx.text("namespace")), timeout_s=_ASK_S)
        data = found.get("data") or {}
        if key not in data:
            raise KeyError(f"Secret {ctx.text('namespace')}/{secret} has no key {key}")
        return base64.b64decode(data[key]).decode()


def _end_others(cursor: Any) -> None:
    """Have ours be the one session of hamgr's that writes: it holds a lock, and whoever held that before is ended."""
    import pymysql

    if _locked(cursor, 0):
        return
    cursor.execute("SELECT IS_USED_LOCK(%s)", (_SESSION,))
    (holder,) = cursor.fetchone()
    if holder is not None:
        try:
            cursor.execute(f"KILL CONNECTION {int(holder)}")
        except pymysql.MySQLError as error:
            if error.args[:1] != (_NO_SUCH_THREAD,):
                raise
    if not _locked(cursor, 1):
        raise TimeoutError("an earlier session of hamgr's does not end")


def _locked(cursor: Any, wait_s: int) -> bool:
    cursor.execute("SELECT GET_LOCK(%s, %s)", (_SESSION, wait_s))
    return bool(cursor.fetchone() == (1,))


def _sentence(error: Exception) -> str:
    return str(error.args[0]) if error.args else str(error)
