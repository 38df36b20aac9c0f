"""`hamgr sandbox`: an embedded cluster on this machine, and everything that can go wrong with one, on command."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hamgr.api.exits import Exit
from hamgr.cli.param_types import Seconds
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.layout import Options, default_directory
from hamgr_sandbox.network import Direction, NetworkError, Peer
from hamgr_sandbox.processes import StillAlive


@click.group()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the sandbox: $HAMGR_SANDBOX_DIR, build/sandbox in a checkout, or ~/.local/state/hamgr/sandbox.",
)
@click.pass_context
def sandbox(context: click.Context, directory: Path | None) -> None:
    """Run an embedded cluster: real etcd, a stand-in Kubernetes, nodes that can be crashed and cut off.

    Faults say how to undo them. What is real, and what is not: docs/sandbox.md.

    Exit codes: 0 done; 1 refused; 64 usage; 68 no such node or program; 69 something needed is not there;
    77 not permitted; 78 damaged or wrong configuration; 105 no such pod or disk; 124 not ready in time.
    """
    context.obj = directory


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Hand the sandbox to a command, let `--dir` stand behind it too, and turn errors into a sentence and a code."""

    @click.option("--dir", "own_directory", type=click.Path(path_type=Path, file_okay=False), hidden=True)
    @wraps(function)
    def wrapped(own_directory: Path | None, **arguments: Any) -> None:
        directory = own_directory or click.get_current_context().obj or default_directory()
        try:
            function(directory, **arguments)
        except SandboxError as error:
            _fail(str(error), error.code)
        except (NetworkError, StillAlive) as error:
            _fail(str(error), Exit.ERROR)
        except PermissionError as error:
            _fail(f"{error}; the sandbox belongs to another user", Exit.NO_PERMISSION)

    return wrapped


def _fail(text: str, code: int) -> None:
    click.echo(f"hamgr sandbox: {text}", err=True)
    sys.exit(code)


def _open(directory: Path, options: Options | None = None) -> Any:
    # Imported late: aiohttp costs a quarter of a second, which `--help` and usage errors need not pay.
    from hamgr_sandbox.cluster import Sandbox

    return Sandbox(directory, options)


@sandbox.command()
@click.option("--nodes", default=3, show_default=True, help="How many nodes, 1 to 15.")
@click.option("--etcd-members", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option("--etcd-endpoints", help="Use this running etcd instead (host:port, comma-separated).")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Join nodes, disks and load balancers to this cluster instead of starting a stand-in.",
)
@click.option(
    "--attach-latency", type=Seconds(0), default=0.3, show_default=True, help="How long attaching a disk takes."
)
@click.option(
    "--detach-latency", type=Seconds(0), default=0.3, show_default=True, help="How long detaching a disk takes."
)
@click.option("--zones", metavar="ZONE,...", help="Zones of n1, n2, ... (disks of class sandbox-zonal are in one).")
@click.option("--hamgrd/--no-hamgrd", default=True, help="Run hamgrd on each node.")
@click.option("--controllers-arg", multiple=True, metavar="ARG", help="Pass on to the controllers (repeatable).")
@click.option("--node-arg", multiple=True, metavar="ARG", help="Pass on to the node agents (repeatable).")
@_command
def up(
    directory: Path,
    nodes: int,
    etcd_members: str,
    etcd_endpoints: str | None,
    kubeconfig: Path | None,
    attach_latency: float,
    detach_latency: float,
    zones: str | None,
    hamgrd: bool,
    controllers_arg: tuple[str, ...],
    node_arg: tuple[str, ...],
) -> None:
    """Start a sandbox; returns when it is ready for use."""
    options = Options(
        nodes=nodes,
        etcd_members=int(etcd_members),
        etcd_endpoints=tuple(etcd_endpoints.split(",")) if etcd_endpoints else (),
        kubeconfig=str(kubeconfig.absolute()) if kubeconfig else "",
        hamgrd=hamgrd,
        attach_latency_s=attach_latency,
        detach_latency_s=detach_latency,
        zones=tuple(zones.split(",")) if zones else (),
        controllers_args=controllers_arg,
        node_args=node_arg,
    )
    started = time.monotonic()
    opened = _open(directory, options)
    opened.up(report=_tell)
    click.echo(f"ready after {time.monotonic() - started:.1f} s, in {opened.layout.root}\n")
    click.echo("next:\n" + "\n".join(f"  {line}" for line in _next_commands(hamgrd)))


def _tell(line: str) -> None:
    """Progress. Whoever closes the pipe (`up | head -1`) hears no more of it; the sandbox comes up all the same."""
    try:
        click.echo(line, err=line.startswith("warning"))
    except BrokenPipeError:
        pass


def _next_commands(hamgrd: bool) -> list[str]:
    here = Path(sys.executable).parent
    return [
        *([f'export PATH="{here}:$PATH"'] if shutil.which("hamgr") is None else []),
        'eval "$(hamgr sandbox env)"',
        "kubectl get nodes",
        *(["hamgr status"] if hamgrd else []),
        "hamgr sandbox crash n1; hamgr sandbox start n1",
        "hamgr sandbox partition n2; hamgr sandbox heal n2",
        "hamgr sandbox status",
        "hamgr sandbox down",
    ]


@sandbox.command()
@_command
def down(directory: Path) -> None:
    """End what `up` has started; the logs stay."""
    if not directory.is_dir():
        click.echo(f"there is no sandbox in {directory}")
        return
    _open(directory).down()
    click.echo(f"the sandbox in {directory} is down")


@sandbox.command()
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_command
def status(directory: Path, output: str) -> None:
    """Show what runs, what is broken, and what answers."""
    found = _open(directory).status()
    if output == "json":
        click.echo(json.dumps(asdict(found), indent=2))
        return
    click.echo(f"sandbox in {found.directory}")
    click.echo(f"  etcd   {' '.join(found.etcd_endpoints)}{'' if found.etcd_answers else '  DOES NOT ANSWER'}")
    click.echo(f"  API    {found.api}{'' if found.api_answers else '  DOES NOT ANSWER'}")
    click.echo(f"  config {found.kubeconfig}")
    click.echo("  " + "  ".join(f"{name} {state}" for name, state in found.control.items()))
    for node in found.nodes:
        click.echo(f"  {_node_line(node)}")


def _node_line(node: Any) -> str:
    words = [f"{node.name:4} {node.address:15} {node.state:8}", "Ready" if node.ready else "NotReady"]
    if node.member:
        words.append("member, leader" if node.leader else "member")
    words += [f"cut off from {cut.peer} ({cut.direction})" for cut in node.cuts]
    missing = {"kubelet", *(["hamgrd"] if "hamgrd" in node.services else [])} - set(node.services)
    words += [f"{name} is down" for name in sorted(missing) if node.state == "running"]
    return "  ".join(words)


@sandbox.command()
@click.argument("node")
@_command
def crash(directory: Path, node: str) -> None:
    """Pull the plug of NODE.

    All on it dies at once, and what its disks had not synced is lost.
    """
    _open(directory).crash(node)
    click.echo(f"{node} has crashed; undo with `hamgr sandbox start {node}`")


@sandbox.command()
@click.argument("name", metavar="NODE|PROGRAM")
@_command
def start(directory: Path, name: str) -> None:
    """Boot a crashed node, or start a killed program.

    Programs are etcd, apiserver, controllers, attacher, balancer, hamgrd@NODE and kubelet@NODE.
    """
    opened = _open(directory)
    service, _, node = name.partition("@")
    if node:
        opened.host(node).start_service(service)
    else:
        opened.start(name)
    click.echo(f"{name} is starting")


@sandbox.command()
@click.argument("name", metavar="NODE|PROGRAM")
@_command
def freeze(directory: Path, name: str) -> None:
    """SIGSTOP a node with all that runs there, or a program.

    Programs are etcd, apiserver, controllers, attacher and balancer.
    """
    _open(directory).freeze(name)
    click.echo(f"{name} stands still; undo with `hamgr sandbox thaw {name}`")


@sandbox.command()
@click.argument("name", metavar="NODE|PROGRAM")
@_command
def thaw(directory: Path, name: str) -> None:
    """Undo `freeze`."""
    _open(directory).thaw(name)
    click.echo(f"{name} runs on")


@sandbox.command()
@click.argument("node")
@click.option("--from", "peer", type=click.Choice([each.value for each in Peer]), default="all", show_default=True)
@click.option(
    "--direction",
    type=click.Choice([each.value for each in Direction]),
    default="both",
    show_default=True,
    help="Which packets are dropped, as NODE sees them.",
)
@_command
def partition(directory: Path, node: str, peer: str, direction: str) -> None:
    """Cut NODE off; its processes run on.

    From etcd, the API server, its clients (and other nodes), or all.
    """
    _open(directory).partition(node, Peer(peer), Direction(direction))
    whom = {"all": "everybody", "api": "the API server"}.get(peer, peer)
    click.echo(f"{node} is cut off from {whom} ({direction}); undo with `hamgr sandbox heal {node}`")


@sandbox.command()
@click.argument("node")
@_command
def heal(directory: Path, node: str) -> None:
    """Undo every `partition` of NODE."""
    _open(directory).heal(node)
    click.echo(f"{node} is reachable again")


@sandbox.command()
@click.argument("target", metavar="POD[/CONTAINER]|hamgrd@NODE|kubelet@NODE|PROGRAM")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the pod.")
@click.option("--stay-down", is_flag=True, help="Do not let it be started again (not for pods).")
@_command
def kill(directory: Path, target: str, namespace: str, stay_down: bool) -> None:
    """SIGKILL a container or a program.

    A program is etcd, apiserver, controllers, attacher, balancer, hamgrd@NODE or kubelet@NODE.
    """
    opened = _open(directory)
    service, _, node = target.partition("@")
    if node:
        opened.host(node).kill_service(service, stay_down=stay_down)
    elif target == "etcd" or target in opened.status().control:
        opened.kill_program(target, stay_down=stay_down)
    else:
        pod, _, container = target.partition("/")
        opened.kill_container(pod, container or None, namespace)
    click.echo(f"{target} was killed")


@sandbox.command("slow-disk")
@click.argument("disk", required=False)
@click.option("--attach", "attach_s", type=Seconds(0), help="How long an attach takes.")
@click.option("--detach", "detach_s", type=Seconds(0), help="How long a detach takes.")
@click.option("--off", is_flag=True, help="End all faults of the attacher.")
@_command
def slow_disk(directory: Path, disk: str | None, attach_s: float | None, detach_s: float | None, off: bool) -> None:
    """Let attaching and detaching take longer.

    For one DISK (claim or volume handle), or all.
    """
    opened = _open(directory)
    if off:
        opened.storage.clear()
        click.echo("the attacher works as usual again")
        return
    if attach_s is None and detach_s is None:
        raise SandboxError("say how slow: --attach SECONDS, --detach SECONDS, or --off", Exit.USAGE)
    for operation, seconds in (("attach", attach_s), ("detach", detach_s)):
        if seconds is not None:
            opened.storage.slow(operation, seconds, disk)
    click.echo("the attacher is slow; undo with `hamgr sandbox slow-disk --off`")


@sandbox.command("hang-detach")
@click.argument("disk", required=False)
@click.option("--off", is_flag=True, help="End all faults of the attacher.")
@_command
def hang_detach(directory: Path, disk: str | None, off: bool) -> None:
    """Let detaching never end.

    For one DISK (claim or volume handle), or all.
    """
    opened = _open(directory)
    if off:
        opened.storage.clear()
        click.echo("the attacher works as usual again")
    else:
        opened.storage.hang("detach", disk)
        click.echo("detaching hangs; undo with `hamgr sandbox hang-detach --off`")


@sandbox.command("stall-disk")
@click.argument("disk")
@click.option("--off", is_flag=True, help="Let it work again.")
@_command
def stall_disk(directory: Path, disk: str, off: bool) -> None:
    """Let every write to DISK wait, as a hung disk does.

    DISK is a claim or a volume handle.
    """
    opened = _open(directory)
    if off:
        opened.storage.unstall(disk)
        click.echo(f"{disk} works again")
    else:
        opened.storage.stall(disk)
        click.echo(f"writes to {disk} wait; undo with `hamgr sandbox stall-disk {disk} --off`")


@sandbox.command()
@click.argument("who", metavar="PROGRAM|hamgrd@NODE|kubelet@NODE|POD[/CONTAINER]")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the pod.")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows.")
@_command
def logs(directory: Path, who: str, namespace: str, follow: bool) -> None:
    """Print a log."""
    path = _open(directory).log_file(who, namespace)
    command = ["tail", "-n", "+1", *(["-F"] if follow else []), str(path)]
    raise SystemExit(subprocess.run(command, check=False).returncode)


@sandbox.command()
@click.option("--export", is_flag=True, help="Print a line for the shell to evaluate.")
@_command
def kubeconfig(directory: Path, export: bool) -> None:
    """Print the path of the kubeconfig."""
    path = str(_open(directory).kubeconfig)
    click.echo(f"export KUBECONFIG={shlex.quote(path)}" if export else path)


@sandbox.command()
@_command
def env(directory: Path) -> None:
    """Print what the shell must know: eval "$(hamgr sandbox env)".

    With it kubectl and hamgr find this sandbox.
    """
    opened = _open(directory)
    click.echo(f"export KUBECONFIG={shlex.quote(str(opened.kubeconfig))}")
    click.echo(f"export HAMGR_CONFIG={shlex.quote(str(opened.layout.user_settings))}")
    click.echo(f"export HAMGR_SANDBOX_DIR={shlex.quote(str(opened.layout.root))}")


if __name__ == "__main__":
    sandbox(prog_name=f"{os.path.basename(sys.executable)} -m hamgr_sandbox.cli")
