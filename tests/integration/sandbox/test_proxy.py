"""A cut cable holds bytes back and closes nothing; healed, it delivers them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hamgr_sandbox.proxy import Cable, serve

WHILE_CUT_S = 0.3  # long enough for the proxy to have looked at the cuts several times


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while line := await reader.readline():
            received.append(line)
            writer.write(line)
            await writer.drain()
    writer.close()


received: list[bytes] = []


@contextlib.asynccontextmanager
async def cable(cuts: Path) -> AsyncIterator[int]:
    received.clear()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    probe = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    target = ("127.0.0.1", server.sockets[0].getsockname()[1])
    running = asyncio.create_task(serve(Cable(("127.0.0.1", port), target, "etcd", str(cuts))))
    await asyncio.sleep(0.05)
    yield port
    running.cancel()
    server.close()


async def says(reader: asyncio.StreamReader, timeout_s: float) -> bytes:
    try:
        return await asyncio.wait_for(reader.readline(), timeout_s)
    except TimeoutError:
        return b"(silence)"


@pytest.mark.parametrize("direction", ["both", "in", "out"])
def test_a_cut_connection_is_silent_and_lives_on(tmp_path: Path, direction: str) -> None:
    async def scenario() -> None:
        cuts = tmp_path / "cuts.json"
        async with cable(cuts) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"one\n")
            assert await says(reader, 5) == b"one\n"
            cuts.write_text(json.dumps([["etcd", direction]]))
            await asyncio.sleep(WHILE_CUT_S)
            writer.write(b"two\n")
            assert await says(reader, WHILE_CUT_S) == b"(silence)"
            assert (b"two\n" in received) is (direction == "in"), "inward alone: the server hears, the node does not"
            cuts.write_text("[]")
            assert await says(reader, 5) == b"two\n"
            writer.close()

    asyncio.run(scenario())


def test_other_peers_cuts_do_not_matter(tmp_path: Path) -> None:
    async def scenario() -> None:
        cuts = tmp_path / "cuts.json"
        cuts.write_text(json.dumps([["api", "both"]]))
        async with cable(cuts) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"one\n")
            assert await says(reader, 5) == b"one\n"
            writer.close()

    asyncio.run(scenario())
