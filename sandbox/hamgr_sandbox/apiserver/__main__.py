"""`python -m hamgr_sandbox.apiserver`: run the stand-in API server until SIGTERM or SIGINT.

Exit codes: 0 stopped, 64 wrong usage, 66 a file that cannot be read, 69 an address that cannot be listened on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click

from hamgr_sandbox.apiserver import certificates
from hamgr_sandbox.apiserver.auth import Authenticator, allow_all, read_tokens
from hamgr_sandbox.apiserver.journal import BadJournal
from hamgr_sandbox.apiserver.rbac import RoleBased
from hamgr_sandbox.apiserver.server import ApiServer, Listener, Settings, running

EX_USAGE = 64
EX_NO_INPUT = 66
EX_UNAVAILABLE = 69


class StartFailure(Exception):
    """Why the server does not start: a sentence for a person, and the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_address(text: str) -> tuple[str, int]:
    """ADDRESS:PORT taken apart; raises StartFailure."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        why = f"--listen {text!r} is not ADDRESS:PORT; write for example 127.0.0.1:8001 (port 0 takes a free one)"
        raise StartFailure(EX_USAGE, why)
    return host.strip("[]"), int(port)


def prepare(
    addresses: tuple[str, ...], tls_dir: Path | None, token_file: Path | None
) -> tuple[list[Listener], Settings]:
    """Listeners and settings from the command line; raises StartFailure."""
    parsed = [parse_address(one) for one in addresses]
    context, root, files = None, "", None
    try:
        if tls_dir is not None:
            files = certificates.ensure(tls_dir, [host for host, _ in parsed])
            context, root = certificates.server_context(files), files.authority.read_text(encoding="utf-8")
        tokens = read_tokens(token_file) if token_file else {}
    except (OSError, ValueError) as error:
        raise StartFailure(EX_NO_INPUT, f"{error}. Check --tls-dir and --token-file.") from error
    key = hashlib.sha256(files.server.read_bytes()).digest() if files else secrets.token_bytes(32)
    authenticator = Authenticator(tokens, certificates=tls_dir is not None, accounts_key=key)
    listeners = [Listener(host, port, context) for host, port in parsed]
    return listeners, Settings(authenticator=authenticator, root_certificate=root)


async def _serve(listeners: list[Listener], settings: Settings, ready_file: Path | None) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    async with running(ApiServer(settings), listeners) as urls:
        text = "".join(f"{url}\n" for url in urls)
        sys.stdout.write(text)
        sys.stdout.flush()
        if ready_file:
            part = ready_file.with_name(ready_file.name + ".part")
            part.write_text(text, encoding="utf-8")
            part.rename(ready_file)
        await done.wait()


@click.command()
@click.option(
    "--listen",
    "addresses",
    multiple=True,
    default=("127.0.0.1:8001",),
    metavar="ADDR:PORT",
    help="Listen here; may be repeated.",
    show_default=True,
)
@click.option(
    "--tls-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Speak HTTPS with the certificates in this directory (ca.crt, server.pem, admin.pem), made there if missing; "
    "clients then need a certificate of that authority or a token.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help='Bearer tokens, one a line: token,user,uid[,"group1,group2"]. Clients then need one of them.',
)
@click.option(
    "--authorization",
    type=click.Choice(["all", "rbac"]),
    default="all",
    show_default=True,
    help="What known clients may do: everything, or what the roles bound to them allow (the group system:masters "
    "everything).",
)
@click.option(
    "--audit-log-path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Note every request for a resource in this file: who wanted what, and whether it was allowed.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the objects in this file, so that a server that was killed comes back with them.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Written when the server listens: one URL a line.",
)
@click.option(
    "--watch-window", default=5000, show_default=True, help="Events of each kind that watches can go back to."
)
def main(
    addresses: tuple[str, ...],
    tls_dir: Path | None,
    token_file: Path | None,
    authorization: str,
    audit_log_path: Path | None,
    journal: Path | None,
    ready_file: Path | None,
    watch_window: int,
) -> None:
    """Run the stand-in Kubernetes API server; without --journal its objects are gone when it ends."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        listeners, settings = prepare(addresses, tls_dir, token_file)
        authorizer = RoleBased if authorization == "rbac" else allow_all
        settings = replace(
            settings, window=watch_window, journal=journal, authorization=authorizer, audit=audit_log_path
        )
        asyncio.run(_serve(listeners, settings, ready_file))
    except StartFailure as failure:
        click.echo(f"apiserver: {failure}", err=True)
        raise SystemExit(failure.code) from failure
    except BadJournal as error:
        click.echo(f"apiserver: {error}. Move the file away, or name another --journal.", err=True)
        raise SystemExit(EX_NO_INPUT) from error
    except OSError as error:
        listed = ", ".join(addresses)
        why = error.strerror or error
        click.echo(f"apiserver: cannot listen on {listed}: {why}. Choose another --listen.", err=True)
        raise SystemExit(EX_UNAVAILABLE) from error


if __name__ == "__main__":
    main()
