"""The verbs that are nothing but a request to the leader: made from what `hamgr.api.requests` says of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import VERBS, Request, Verb
from hamgr.api.wire import hints_of
from hamgr.cli.connection import target
from hamgr.cli.leader_client import ask


def command(name: str) -> click.Command:
    """The command of that name."""
    request, verb = VERBS[name]

    @click.pass_context
    def carry_out(ctx: click.Context, /, **given: Any) -> int:
        ask(target(ctx), request(**given, **verb.sets))
        click.echo(verb.said.format_map(given))
        return Exit.OK

    return click.Command(name, callback=carry_out, params=_params(request, verb), help=verb.summary)


def _params(request: type[Request[Any]], verb: Verb) -> list[click.Parameter]:
    hints = hints_of(request)
    free = [item for item in fields(request) if item.name not in verb.sets]  # type: ignore[arg-type]
    return [_param(item, hints) for item in free]


def _param(item: Field[Any], hints: Mapping[str, Any]) -> click.Parameter:
    if item.default is MISSING:
        return click.Argument([item.name], type=hints[item.name])
    option = f"--{item.name.replace('_', '-')}"
    if hints[item.name] is bool:
        return click.Option([option], is_flag=True)
    return click.Option([option], type=hints[item.name], default=item.default, show_default=bool(item.default))
