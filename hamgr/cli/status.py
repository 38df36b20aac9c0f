"""`hamgr status`: one read of etcd, rendered."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import click

from hamgr.api.exits import Exit
from hamgr.api.status import CRITICAL, OLD_S, VERDICTS, Finding, StatusDoc, complete, verdict
from hamgr.cli.connection import open_store, target
from hamgr.cli.exits import CommandError
from hamgr.cli.param_types import Seconds
from hamgr.cli.render.status import render_oneline, render_status
from hamgr.cli.screen import clipped, fitted
from hamgr.store.errors import StoreError
from hamgr.store.membership import MEMBERS
from hamgr.store.store import Store


@click.command()
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--full", is_flag=True, help="Also node attributes, fail counts, all of the fencing history.")
@click.option("-s", "--simple", is_flag=True, help="One line for a monitoring system; exit code 0, 1 or 2.")
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever it changes, until interrupted.")
@click.option("--interval", type=Seconds(0.1), default=1.0, show_default=True, help="How often --watch looks.")
@click.pass_context
def status(ctx: click.Context, output: str, full: bool, simple: bool, watch: bool, interval: float) -> int:
    """Show the cluster: nodes, resources, failures, fencing."""
    views = (("--simple", simple), ("--watch", watch), ("--output json", output == "json"))
    chosen = [name for name, is_chosen in views if is_chosen]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} show the cluster in different ways: choose one", ctx)
    store = open_store(target(ctx))
    try:
        if watch:
            _watch(store, full, interval)
        doc, led = fetch(store)
        if simple:
            line, code = render_oneline(doc)
            click.echo(line)
            return code
        click.echo(_as_json(doc, led) if output == "json" else fitted(render_status(doc, led=led, full=full)))
        return Exit.OK
    finally:
        store.close()


def fetch(store: Store) -> tuple[StatusDoc, bool]:
    """The status document and whether there is a leader now, in one read. Raises CommandError, StoreError."""
    entries = store.transact(reads=("status", "leader")).entries
    led = "leader" in entries
    if "status" not in entries:
        raise CommandError(_nothing_there(store.config.cluster, led), Exit.NO_OBJECT)
    try:
        doc = StatusDoc.from_value(entries["status"].value)
        doc = doc if doc.cluster else replace(doc, cluster=store.config.cluster)
        doc = doc if led else _unled(doc, store)
        return doc.with_findings((*of_etcd(store.alarms()), *of_age(doc, datetime.now(UTC)), *doc.found)), led
    except ValueError as error:
        raise CommandError(f"the status in etcd cannot be read: {error}") from None


def _unled(doc: StatusDoc, store: Store) -> StatusDoc:
    """The last leader's document, with a first finding that says what keeps the cluster without a leader."""
    members = sorted(key.removeprefix(MEMBERS) for key in store.read(MEMBERS).entries)
    if members:
        why = (
            f"though hamgrd runs on {', '.join(members)}. One of them leads within seconds, unless none sees the "
            "Kubernetes API server: `hamgr events -n 5`, `journalctl -u hamgrd -p warning`"
        )
    else:
        why = "and no hamgrd runs: `systemctl start hamgrd` on the nodes"
    text = f"nobody leads, so nothing is decided, moved or fenced, {why}"
    return doc.with_findings((Finding("no-leader", text, CRITICAL), *doc.found))


def of_etcd(alarms: Iterable[str]) -> Iterator[Finding]:
    """What etcd itself complains of: leases renew, so somebody leads, though nothing may be written."""
    for name in alarms:
        text = f"etcd has raised the alarm {name}: `etcdctl alarm list`"
        if name == "NOSPACE":
            text = (
                "etcd is out of space and takes no writes, so nothing can be fenced or moved: `etcdctl compact "
                "REVISION`, `etcdctl defrag`, `etcdctl alarm disarm`"
            )
        yield Finding("etcd-alarm", text, CRITICAL)


def of_age(doc: StatusDoc, now: datetime) -> Iterator[Finding]:
    """That the document is old; a leader that works writes it anew all the time. now: by the clock of this machine."""
    try:
        age_s = (now - datetime.fromisoformat(doc.updated_at.replace("Z", "+00:00"))).total_seconds()
    except (ValueError, TypeError):
        return
    if age_s > OLD_S:
        text = (
            f"this status is {age_s:.0f} s old: {doc.leader or 'the leader'} cannot write to etcd or hangs "
            "(`journalctl -u hamgrd` there), or the clocks differ"
        )
        yield Finding("status-old", text, CRITICAL)


def _nothing_there(cluster: str, led: bool) -> str:
    if led:
        return f"the leader of cluster '{cluster}' has not published a status yet: try again in a second"
    return f"there is nothing about a cluster '{cluster}' in etcd: no hamgrd has led it yet, or its name is another"


def _as_json(doc: StatusDoc, led: bool) -> str:
    word = VERDICTS[verdict(doc.found)]
    return json.dumps({**complete(doc), "led": led, "verdict": word}, indent=2, ensure_ascii=False)


def _watch(store: Store, full: bool, interval_s: float) -> None:
    """Redraw for ever; trouble with etcd is shown in place of the cluster and tried again."""
    shown = ""
    while True:
        try:
            doc, led = fetch(store)
            text = render_status(doc, led=led, full=full)
        except (StoreError, CommandError) as error:
            text = f"{error} (trying again)"
        if sys.stdout.isatty():
            text = clipped(fitted(text), shutil.get_terminal_size().lines - 1)
        if text != shown:
            click.clear()
            click.echo(text)
            shown = text
        time.sleep(interval_s)
