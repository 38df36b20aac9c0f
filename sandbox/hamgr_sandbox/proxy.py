"""The cables of nodes without root: TCP proxies between each node and etcd and the API server, which can be cut.

Without network namespaces all nodes share this machine's loopback, so what a node is told to talk to is a proxy at its
own address. A cut proxy holds every byte back and closes nothing, as a network does that drops packets; healed, it
delivers what it held. Unlike a network it still accepts new connections, which then hear nothing.
"""

import argparse
import asyncio
import json
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hamgr_sandbox.network import Direction, Peer

_LOOK_S = 0.05
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Cable:
    """One proxy: where nodes connect to, where that leads, and the file with the node's cuts (empty: never cut)."""

    listen: tuple[str, int]
    target: tuple[str, int]
    peer: str
    cuts: str


@dataclass(slots=True)
class Gates:
    """Whether bytes may pass from the node (out) and to it (in)."""

    outward: asyncio.Event = field(default_factory=asyncio.Event)
    inward: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, directions: frozenset[Direction]) -> None:
        """Close the gates of these directions and open the others."""
        for gate, own in ((self.outward, Direction.OUT), (self.inward, Direction.IN)):
            if directions & {own, Direction.BOTH}:
                gate.clear()
            else:
                gate.set()


def save(cables: list[Cable], path: Path) -> None:
    """Write what `main` reads."""
    path.write_text(json.dumps([asdict(cable) for cable in cables]))


def load(path: Path) -> list[Cable]:
    """Read what `save` has written."""
    return [
        Cable(tuple(each["listen"]), tuple(each["target"]), each["peer"], each["cuts"])
        for each in json.loads(path.read_text())
    ]


def directions_cut(path: Path, peer: str) -> frozenset[Direction]:
    """Which ways the node is cut off from this peer; none when the file is missing."""
    with suppress(FileNotFoundError, IsADirectoryError, ValueError):
        listed = json.loads(path.read_text())
        return frozenset(Direction(way) for whom, way in listed if whom in (peer, Peer.ALL))
    return frozenset()


async def serve(cable: Cable) -> None:
    """Run one proxy until cancelled. Raises OSError when it cannot listen."""
    gates = Gates()
    gates.set(directions_cut(Path(cable.cuts), cable.peer))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _carry(cable, gates, reader, writer)

    async with await asyncio.start_server(connected, *cable.listen):
        while True:
            await asyncio.sleep(_LOOK_S)
            gates.set(directions_cut(Path(cable.cuts), cable.peer))


async def _carry(
    cable: Cable, gates: Gates, node_reader: asyncio.StreamReader, node_writer: asyncio.StreamWriter
) -> None:
    await gates.outward.wait()
    try:
        reader, writer = await asyncio.open_connection(*cable.target)
    except OSError:
        node_writer.close()
        return
    await asyncio.gather(_pump(node_reader, writer, gates.outward), _pump(reader, node_writer, gates.inward))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            await gate.wait()
            writer.write(data)
            await writer.drain()
    await gate.wait()  # the end of a connection does not pass a cut cable either
    with suppress(OSError):
        writer.close()


async def _serve_all(cables: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    everything = asyncio.gather(*(serve(cable) for cable in cables))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, everything.cancel)
    with suppress(asyncio.CancelledError):
        await everything


def main() -> None:
    """Run all proxies of a file until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m hamgr_sandbox.proxy", description=__doc__)
    parser.add_argument("--cables", type=Path, required=True, help="JSON, as `save` writes it")
    given = parser.parse_args()
    try:
        asyncio.run(_serve_all(load(given.cables)))
    except OSError as error:
        parser.exit(69, f"hamgr sandbox proxy: {error}\n")


if __name__ == "__main__":
    main()
