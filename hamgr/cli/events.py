"""`hamgr events`: the log of decisions that the leader keeps."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Sequence

import click

from hamgr.api.events import Event
from hamgr.api.exits import Exit
from hamgr.cli.connection import open_store, target
from hamgr.cli.name_check import require_node, require_resource
from hamgr.cli.render.status import render_time
from hamgr.store.eventlog import EVENTS, read_events
from hamgr.store.store import Store
from hamgr.store.values import Change


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones until interrupted.")
@click.option("-n", "--last", type=click.IntRange(0), default=50, show_default=True, help="So many of the past ones.")
@click.option("--node", default="", help="Only what concerns this node.")
@click.option("--resource", default="", help="Only what concerns this resource.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def events(ctx: click.Context, follow: bool, last: int, node: str, resource: str, output: str) -> int:
    """Show what the cluster decided and why."""
    store = open_store(target(ctx))
    try:
        past = [Event.from_value(value) for _, value in read_events(store)] if not follow else []
        found = _matching(past, node, resource)
        if not found and not follow:
            _explain_nothing(store, node, resource)
        for event in found[-last:] if last else ():
            click.echo(_line(event, output))
        if follow:
            for event in _follow(store, last):
                for shown in _matching([event], node, resource):
                    click.echo(_line(shown, output))
        return Exit.OK
    finally:
        store.close()


def _explain_nothing(store: Store, node: str, resource: str) -> None:
    """Why nothing is shown, on stderr. Raises CommandError when the cluster has no such node or resource."""
    if node:
        require_node(store, node)
    if resource:
        require_resource(store, resource)
    named = " and ".join(name for name in (resource, node) if name)
    click.echo(f"there are no events{f' about {named}' if named else ''} on record", err=True)


def _matching(found: Sequence[Event], node: str, resource: str) -> list[Event]:
    return [event for event in found if node in ("", event.node) and resource in ("", event.resource)]


def render_event(event: Event) -> str:
    """One line: when, what, the sentence."""
    mark = {"warning": "WARNING ", "error": "ERROR "}.get(event.level, "")
    return f"{render_time(event.at, None)}  {event.code:<22} {mark}{event.text}".rstrip()


def _line(event: Event, output: str) -> str:
    return json.dumps(event.to_value(), ensure_ascii=False) if output == "json" else render_event(event)


def _follow(store: Store, last: int) -> Iterator[Event]:
    """The last events, then new ones as they are written; nothing falls between."""
    inbox: queue.Queue[Event] = queue.Queue()
    snapshot = store.read(EVENTS)
    past = [snapshot.values[key] for key in sorted(snapshot.values)]

    def on_change(changes: Sequence[Change], _revision: int) -> None:
        for change in changes:
            if change.entry is not None:
                inbox.put(Event.from_value(change.value))

    watch = store.watch(snapshot, on_change)
    try:
        for value in past[-last:] if last else ():
            yield Event.from_value(value)
        while True:
            yield inbox.get()
    finally:
        watch.stop()
