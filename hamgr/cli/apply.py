"""`hamgr verify` and `hamgr apply`: a cluster file is checked here, completely, before it goes anywhere."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import CheckDisks
from hamgr.api.status import StatusDoc
from hamgr.cli.cluster_file import bundle_notes, name_of, problems_in, read_cluster_file
from hamgr.cli.connection import Target, fence_programs, open_store, target
from hamgr.cli.exits import CommandError
from hamgr.cli.leader_client import ask
from hamgr.clusterfile.load import ClusterFile
from hamgr.store.store import Store

if TYPE_CHECKING:
    from hamgr.fencer.programs import Programs

CONFIG = "config"


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--ask-agents",
    is_flag=True,
    help="Also run the fence agents of this machine for their metadata, and check the devices' parameters by it.",
)
@click.option(
    "--ask-cluster",
    is_flag=True,
    help="Also have the leader look at the claims and workloads in Kubernetes that the file names.",
)
@click.option("--show", is_flag=True, help="Also list what runs with which operations, defaults filled in.")
@click.pass_context
def verify(ctx: click.Context, file: Path, ask_agents: bool, ask_cluster: bool, show: bool) -> int:
    """Check a cluster file without changing anything, and without running anything that it names."""
    cluster_file, text = read_cluster_file(file)
    check_disks(cluster_file, file)
    asked = check_agents(cluster_file, file, fence_programs(target(ctx))) if ask_agents else []
    asked += check_cluster(text, file, target(ctx)) if ask_cluster else []
    for note in (*asked, *notes(cluster_file)):
        click.echo(note, err=True)
    count = len(cluster_file.section.resources)
    click.echo(f"{name_of(file)}: valid (cluster {cluster_file.cluster}, {count} resource{'' if count == 1 else 's'})")
    if show:
        from hamgr.cli.render.config import render_cib

        click.echo(render_cib(cluster_file.to_cib()))
    return Exit.OK


@click.command()
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path, readable=False),
    required=True,
    help="The cluster file; - is stdin.",
)
@click.pass_context
def apply(ctx: click.Context, file: Path) -> int:
    """Make a cluster file the cluster's configuration."""
    cluster_file, text = read_cluster_file(file)
    check_disks(cluster_file, file)
    store = open_store(target(ctx))
    try:
        _require_name(cluster_file, store)
        current = store.get(CONFIG)
        if current is not None and isinstance(current.value, dict) and current.value.get("text") == text:
            click.echo(f"cluster {cluster_file.cluster}: unchanged")
            return Exit.OK
        document = {
            "text": text,
            "file": str(file),
            "applied_by": f"{getpass.getuser()}@{socket.gethostname()}",
            "applied_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        revision = store.compare_and_put(CONFIG, document, current.mod_revision if current else 0)
        leader, status = store.get("leader"), store.get("status")
    finally:
        store.close()
    by = f"the leader on {leader.value.get('node')} carries it out" if leader else "no hamgrd leads: the next one will"
    click.echo(f"cluster {cluster_file.cluster}: applied as revision {revision}; {by}")
    for note in notes(cluster_file):
        click.echo(note, err=True)
    for node in _removed_in_use(cluster_file, None if status is None else status.value):
        click.echo(f"node {node} is not in the file any more and runs something: it is emptied first, as in standby")
    return Exit.OK


def _removed_in_use(cluster_file: ClusterFile, status: object) -> list[str]:
    """Nodes on which something runs by the leader's last word, and which the file does not name."""
    try:
        known = StatusDoc.from_value(status).nodes
    except ValueError:
        return []
    kept = {node.name for node in cluster_file.to_cib().nodes}
    return [node.name for node in known if node.resources_running and node.name not in kept]


def check_disks(cluster_file: ClusterFile, file: Path) -> None:
    """Refuse a file by which two resources would use one disk. Raises CommandError.

    Not asked of a file that is applied already: a leader that refused it would look after nothing any more.
    """
    from hamgr.controller.disks.claims import doubled_parameters, refused_sharing

    cib = cluster_file.to_cib()
    if wrong := [*doubled_parameters(cib, cluster_file.agents), *refused_sharing(cib)]:
        raise CommandError(problems_in(file, wrong), Exit.CONFIG)


def check_cluster(text: str, file: Path, where: Target) -> list[str]:
    """Have the leader hold a file against the claims and workloads that there are.

    Returns what is worth knowing, as sentences. Raises CommandError with what is wrong, RequestRefused, StoreError.
    """
    answer = ask(where, CheckDisks(text))
    if answer.problems:
        raise CommandError(problems_in(file, answer.problems), Exit.CONFIG)
    return list(answer.notes)


def check_agents(cluster_file: ClusterFile, file: Path, programs: Programs) -> list[str]:
    """Hold the fence devices' parameters against their agents' metadata, for agents that this machine runs.

    Returns what could not be checked, as sentences. Raises CommandError with what is wrong.
    """
    from hamgr.controller.fencing.levels import usable_devices
    from hamgr.fencer.devices import check_device

    wrong, unchecked = [], []
    for device in usable_devices(cluster_file.fencing)[0].values():
        told, note = check_device(device, programs)
        wrong += told
        unchecked += [note] if note else []
    if wrong:
        raise CommandError(problems_in(file, wrong), Exit.CONFIG)
    return unchecked


def notes(cluster_file: ClusterFile) -> list[str]:
    """What is valid and yet to be known."""
    from hamgr.clusterfile.fencing import open_secrets

    return [*bundle_notes(cluster_file), *cluster_file.unused_options, *open_secrets(cluster_file.fencing)]


def _require_name(cluster_file: ClusterFile, store: Store) -> None:
    if cluster_file.cluster != store.config.cluster:
        raise CommandError(
            f"the file is for cluster '{cluster_file.cluster}', this is cluster '{store.config.cluster}': "
            "change the file, or name the other cluster by --config or HAMGR_CLUSTER",
            Exit.CONFIG,
        )
