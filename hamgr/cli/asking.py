"""How a command asks the leader for something and waits for its answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from hamgr.cli.connection import Target, open_store
from hamgr.cli.exits import CommandError, Exit
from hamgr.store.requests import Requests

TIMEOUT_S = 20.0


def ask(
    target: Target,
    kind: str,
    body: Mapping[str, Any],
    timeout_s: float = TIMEOUT_S,
    on_progress: Callable[[Any], None] = lambda _body: None,
) -> Any:
    """Submit one request (`hamgr.cib.requests`) and return the leader's answer.

    Raises RequestRefused, RequestTimeout, StoreUnavailable and the store's other errors.
    """
    store = open_store(target)
    try:
        requests = Requests(store)
        ticket = requests.submit(kind, dict(body), ttl_s=round(timeout_s) + 10)
        return requests.wait(ticket, timeout_s, on_progress)
    finally:
        store.close()


def ask_and_tell(target: Target, kind: str, body: Mapping[str, Any], done: str) -> int:
    """Ask for something whose answer is yes or a refusal; tell the person what came of it."""
    answer = ask(target, kind, body)
    message = answer.get("message") if isinstance(answer, dict) else None
    click.echo(message or done)
    return Exit.OK


def confirm(question: str, assumed: bool) -> None:
    """Ask on a terminal; elsewhere --yes is needed. Raises CommandError, click's Abort."""
    if assumed:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Say --yes, as there is no terminal to ask on", Exit.USAGE)
    click.confirm(question, abort=True)
