"""`hamgr maintenance`: a node, or all of the cluster, is left alone."""

from __future__ import annotations

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import Maintenance
from hamgr.cli.connection import target
from hamgr.cli.leader_client import ask


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@click.argument("node", required=False, default="")
@click.pass_context
def maintenance(ctx: click.Context, state: str, node: str) -> int:
    """Leave a NODE, or all of the cluster, alone: nothing is started, stopped, monitored or fenced."""
    ask(target(ctx), Maintenance(on=state == "on", node=node))
    click.echo(f"maintenance of {node or 'the cluster'} is {state}")
    return Exit.OK
