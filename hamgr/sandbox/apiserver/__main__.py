"""`python -m hamgr.sandbox.apiserver`: run the stand-in API server until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from hamgr.sandbox.apiserver.server import ApiServer, Listener, Settings, running

EX_UNAVAILABLE = 69


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter(f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:8001 (port 0 takes a free one)")
    return host.strip("[]"), int(port)


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
@click.option("--listen", "addresses", multiple=True, default=("127.0.0.1:8001",), metavar="ADDR:PORT",
              help="Listen here; may be repeated.", show_default=True)
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Written when the server listens: one URL a line.")
@click.option("--watch-window", default=5000, show_default=True,
              help="Events of each kind that watches can go back to.")
def main(addresses: tuple[str, ...], ready_file: Path | None, watch_window: int) -> None:
    """Run the stand-in Kubernetes API server."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    listeners = [Listener(*_address(one)) for one in addresses]
    try:
        asyncio.run(_serve(listeners, Settings(window=watch_window), ready_file))
    except OSError as error:
        listed = ", ".join(addresses)
        click.echo(f"apiserver: cannot listen on {listed}: {error.strerror or error}. Choose another --listen.", err=True)
        raise SystemExit(EX_UNAVAILABLE) from error


if __name__ == "__main__":
    main()
