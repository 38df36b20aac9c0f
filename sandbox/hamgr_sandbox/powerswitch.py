"""The sandbox's power switch: a fence device that really pulls a node's plug, and can say whether it is pulled.

Its two halves are this module: ``python -m hamgr_sandbox.powerswitch serve DIRECTORY`` runs beside the sandbox, where
it can see every node; ``... agent DIRECTORY`` is the ClusterLabs fence agent that hamgrd runs, in the network and
process namespaces of its node. They meet at a Unix socket, which namespaces do not part.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.init import MARK
from hamgr_sandbox.processes import StillAlive

SERVE, AGENT = "serve", "agent"
_SOCKET = "socket"
_ANSWER_TIMEOUT_S = 60.0
_STATUS_OFF = 2  # FenceAgentAPI.md: the exit code of `status` for a node that is off
_METADATA = """\
<?xml version="1.0" ?>
<resource-agent name="fence_sandbox" shortdesc="Fence agent for the nodes of a hamgr sandbox">
  <parameters>
    <parameter name="action" required="1"><content type="string" default="off"/></parameter>
    <parameter name="port" required="1"><content type="string"/><shortdesc>The node</shortdesc></parameter>
  </parameters>
  <actions>
    <action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="list"/>
    <action name="monitor"/><action name="metadata"/>
  </actions>
</resource-agent>
"""

log = logging.getLogger(__name__)


# The side that switches


def serve(directory: Path) -> None:
    """Answer requests for the sandbox in `directory` for ever. Relative, the socket's path cannot be too long."""
    os.environ.pop(MARK, None)  # a node that is switched on here is no service of the switch's own
    os.chdir(home_of(directory))
    with suppress(FileNotFoundError):
        os.unlink(_SOCKET)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_SOCKET)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=converse, args=(connection, directory), daemon=True).start()


def converse(connection: socket.socket, directory: Path) -> None:
    """Carry out one request for the sandbox in `directory` and answer it, if the caller is still there."""
    with connection, connection.makefile("r") as stream:
        try:
            answer = _carry_out(directory, *stream.readline().split())
        except (SandboxError, OSError, StillAlive, TypeError) as error:
            answer = f"error {error}"
            log.warning("%s", error)
        with suppress(OSError):
            connection.sendall(f"{answer}\n".encode())


def _carry_out(directory: Path, action: str, node: str = "") -> str:
    from hamgr_sandbox.cluster import Sandbox  # the agent, which is started often, does without

    sandbox = Sandbox(directory)
    if action == "list":
        return " ".join(sandbox.node_names)
    host = sandbox.host(node)
    if action == "off":
        host.crash()
    elif action == "on":
        host.start()
    runs = host.process() is not None
    if action in ("off", "on"):
        log.info("node %s switched %s", node, "on" if runs else "off")
    return "on" if runs else "off"


# The side that asks


def act(directory: Path, given: Mapping[str, str]) -> int:
    """What the agent was asked for by its parameters; the exit code."""
    action, node = given.get("action", "off"), given.get("port", "")
    match action:
        case "metadata":
            print(_METADATA)
            return 0
        case "list" | "monitor":
            names = _ask(directory, "list")
            if action == "list":
                print("\n".join(f"{name}," for name in names.split()))
            return 0
        case "status":
            return 0 if _ask(directory, action, node) == "on" else _STATUS_OFF
        case "off" | "on":
            return 0 if _ask(directory, action, node) == action else 1
        case "reboot":
            return 0 if _ask(directory, "off", node) == "off" and _ask(directory, "on", node) == "on" else 1
    print(f"fence_sandbox cannot do {action!r}", file=sys.stderr)
    return 1


def _ask(directory: Path, *words: str) -> str:
    """The switch's answer. Raises OSError when it does not answer, SandboxError when it cannot do it."""
    os.chdir(home_of(directory))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        connection.connect(_SOCKET)
        with connection.makefile("rw") as stream:
            stream.write(" ".join(words) + "\n")
            stream.flush()
            answer = stream.readline().strip()
    if not answer or answer.startswith("error"):
        raise SandboxError(answer.removeprefix("error ") or "the power switch has hung up")
    return answer


def parameters(lines: Iterable[str]) -> dict[str, str]:
    """`name=value` lines, as fence agents take them; what is no parameter is skipped."""
    pairs = (line.strip().partition("=") for line in lines)
    return {name: value for name, equals, value in pairs if equals}


def home_of(directory: Path) -> Path:
    """Where the switch keeps its own things, in the sandbox's directory."""
    return directory / "switch"


def install_agent(path: Path, directory: Path) -> None:
    """Write the agent's program, which hamgrd can call by its path without further parameters."""
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -m hamgr_sandbox.powerswitch {AGENT} '{directory}'\n")
    path.chmod(0o755)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m hamgr_sandbox.powerswitch", description=__doc__)
    parser.add_argument("side", choices=[SERVE, AGENT])
    parser.add_argument("directory", type=Path, help="the sandbox's")
    options = parser.parse_args(arguments)
    if options.side == SERVE:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        serve(options.directory)
    try:
        return act(options.directory, parameters(sys.stdin))
    except (SandboxError, OSError) as error:
        print(f"fence_sandbox: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
