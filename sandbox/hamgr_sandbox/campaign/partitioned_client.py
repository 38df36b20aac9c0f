"""A client beside the application: on the same node, so that a partition leaves it connected to a cut-off writer.

Clients outside cannot reach an old writer that is cut off; this one can. Whatever it is promised must be on the disk in
the end, just as for everybody else: so a writer that lost its disk may not acknowledge anything any more.

``python -m hamgr_sandbox.campaign.partitioned_client ADDRESS PORT PREFIX`` prints a line for each acknowledged write.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from hamgr_sandbox.campaign.client import KvClient
from hamgr_sandbox.host import Host
from hamgr_sandbox.kvapp import Acknowledged

_END_TIMEOUT_S = 5.0


class PartitionedClient:
    """The insider of one node, from start to `stop`, which may be called again."""

    def __init__(self, host: Host, address: str, port: int, prefix: str) -> None:
        command = [sys.executable, "-m", "hamgr_sandbox.campaign.partitioned_client", address, str(port), prefix]
        self._process = subprocess.Popen(
            host.inside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._acknowledged: list[Acknowledged] = []

    def stop(self) -> list[Acknowledged]:
        """End it; what it was promised."""
        if self._process.returncode is None:
            try:
                output, _ = self._process.communicate("", timeout=_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                output, _ = self._process.communicate()
            for line in output.splitlines():
                seq, key, value = line.split(" ")
                self._acknowledged.append(Acknowledged(int(seq), key, value))
        return self._acknowledged


def main(arguments: Sequence[str]) -> None:
    """Write until the standard input ends."""
    address, port, prefix = arguments
    client = KvClient(lambda: (address, int(port)), prefix)
    client.start()
    sys.stdin.read()
    client.stop()
    for write in client.acknowledged():
        print(write.seq, write.key, write.value)


if __name__ == "__main__":
    main(sys.argv[1:])
