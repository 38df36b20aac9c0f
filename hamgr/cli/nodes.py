"""`hamgr standby`, `unstandby` and `maintenance`: what a node may be used for."""

from __future__ import annotations

import click

from hamgr.cib import requests
from hamgr.cli.asking import ask_and_tell
from hamgr.cli.group import target


@click.command()
@click.argument("node")
@click.pass_context
def standby(ctx: click.Context, node: str) -> int:
    """Move everything off a node."""
    body = {"node": node, "name": "standby", "value": "on"}
    return ask_and_tell(target(ctx), requests.NODE, body, f"{node} is in standby; undo: hamgr unstandby {node}")


@click.command()
@click.argument("node")
@click.pass_context
def unstandby(ctx: click.Context, node: str) -> int:
    """Let resources onto a node again."""
    body = {"node": node, "name": "standby", "value": "off"}
    return ask_and_tell(target(ctx), requests.NODE, body, f"{node} takes part again")


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@click.argument("node", required=False, default="")
@click.pass_context
def maintenance(ctx: click.Context, state: str, node: str) -> int:
    """Leave a NODE, or all of the cluster, alone: nothing is started, stopped, monitored or fenced."""
    value = "true" if state == "on" else "false"
    if node:
        body = {"node": node, "name": "maintenance", "value": value}
        return ask_and_tell(target(ctx), requests.NODE, body, f"maintenance of {node} is {state}")
    body = {"name": "maintenance-mode", "value": value}
    return ask_and_tell(target(ctx), requests.OPTION, body, f"maintenance of the cluster is {state}")
