"""How a command asks the leader for something and waits for its answer."""

from __future__ import annotations

import sys

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import A, NotUnderstood, Request
from hamgr.api.wire import to_value
from hamgr.cli.connection import Target, open_store
from hamgr.cli.exits import CommandError
from hamgr.store.errors import StoreError
from hamgr.store.requests import RequestHandle, Requests
from hamgr.store.store import Store

TIMEOUT_S = 20.0


def ask(target: Target, request: Request[A], timeout_s: float = TIMEOUT_S) -> A:
    """Submit one request and return the leader's answer.

    Raises RequestRefused, RequestTimeout, StoreUnavailable and the store's other errors.
    """
    store = open_store(target)
    try:
        return ask_through(store, request, timeout_s)
    finally:
        store.close()


def ask_through(store: Store, request: Request[A], timeout_s: float = TIMEOUT_S) -> A:
    """As `ask`, with a connection that is open already. Whoever gives up by Ctrl-C is told what becomes of it."""
    requests = Requests(store)
    ticket = requests.submit(request.kind, to_value(request), ttl_s=round(timeout_s) + 10)
    try:
        if store.get("leader") is None:
            click.echo(f"nobody leads at the moment: waiting up to {timeout_s:g} s for a leader", err=True)
        answer = requests.wait(ticket, timeout_s)
    except KeyboardInterrupt:
        raise CommandError(_given_up(requests, ticket), Exit.INTERRUPTED) from None
    try:
        return request.read_answer(answer)
    except NotUnderstood as error:
        raise CommandError(str(error), error.code) from None


def _given_up(requests: Requests, ticket: RequestHandle) -> str:
    try:
        if requests.call_off(ticket):
            return "interrupted before a leader took it: nothing was done"
    except StoreError:
        pass  # it expires, unless the leader takes it before
    return "interrupted, but it may still be carried out: see `hamgr events` and `hamgr status`"


def confirm(question: str, assumed: bool) -> None:
    """Ask on a terminal; elsewhere --yes is needed. Raises CommandError, click's Abort."""
    if assumed:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Say --yes, as there is no terminal to ask on", Exit.USAGE)
    click.confirm(question, abort=True)
