"""The sandbox's network in the real kernel: who reaches whom, and what a cut cable does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hamgr_sandbox.addresses import AddressPlan, release, reserve, sandbox_id
from hamgr_sandbox.network import Cut, Direction, Endpoint, Network, Peer

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
while True:
    server.accept()[0].sendall(b"hi")
"""
CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.4)
assert connection.recv(9) == b"hi"
"""


class Wire:
    """One network of two nodes, and means to try it out."""

    def __init__(self, directory: Path) -> None:
        self.plan: AddressPlan = reserve(directory)
        self.network = Network(sandbox_id(directory), self.plan)
        self.network.up()
        for number in (1, 2):
            self.network.add_node(number, 2)

    def within(self, node: int) -> list[str]:
        return ["ip", "netns", "exec", self.network.node_namespace(node)] if node else []

    @contextmanager
    def server(self, node: int, address: str, port: int) -> Iterator[None]:
        command = [*self.within(node), sys.executable, "-S", "-c", SERVER, address, str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"up\n"
            yield
            process.kill()

    def reaches(self, node: int, address: str, port: int) -> bool:
        command = [*self.within(node), sys.executable, "-S", "-c", CLIENT, address, str(port)]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path)
    yield wire
    wire.network.down()
    release(tmp_path)
    assert not list(Path("/sys/class/net").glob(f"h{sandbox_id(tmp_path)}*"))
    assert not list(Path("/run/netns").glob(f"hamgr-{sandbox_id(tmp_path)}*"))


def test_cuts_take_away_exactly_what_they_say(wire: Wire) -> None:
    host, n1, n2 = wire.plan.host, wire.plan.node(1), wire.plan.node(2)
    etcd, api = [Endpoint(host, 2379)], [Endpoint(host, 6443)]
    with ExitStack() as servers:
        for node, address, port in ((0, host, 2379), (0, host, 6443), (1, n1, 80), (2, n2, 80)):
            servers.enter_context(wire.server(node, address, port))

        def reached(*cuts: Cut) -> dict[str, bool]:
            wire.network.partition(1, cuts, etcd, api)
            return {
                "etcd": wire.reaches(1, host, 2379),
                "api": wire.reaches(1, host, 6443),
                "to n2": wire.reaches(1, n2, 80),
                "from host": wire.reaches(0, n1, 80),
                "itself": wire.reaches(1, n1, 80),
            }

        everything = {"etcd": True, "api": True, "to n2": True, "from host": True, "itself": True}
        nothing = dict.fromkeys(everything, False) | {"itself": True}
        assert reached() == everything
        assert reached(Cut(Peer.ALL, Direction.BOTH)) == nothing
        assert reached(Cut(Peer.ALL, Direction.IN)) == nothing, "no answer comes back"
        assert reached(Cut(Peer.ETCD, Direction.OUT)) == everything | {"etcd": False}
        assert reached(Cut(Peer.API, Direction.BOTH)) == everything | {"api": False}
        assert reached(Cut(Peer.CLIENTS, Direction.BOTH)) == nothing | {"etcd": True, "api": True}
        assert reached(Cut(Peer.CLIENTS, Direction.BOTH), Cut(Peer.API, Direction.IN)) == nothing | {"etcd": True}
        assert wire.reaches(2, host, 2379), "other nodes notice nothing"
        assert reached() == everything


POD = """
import sys
from hamgr_sandbox.network import PodNetwork
pods = PodNetwork(sys.argv[1])
pods.up(); pods.up()
first, second = pods.add("one"), pods.add("two")
assert pods.add("one") == first != second, (first, second)
again = PodNetwork(sys.argv[1])
assert again.add("two") == second
again.remove("one"); again.remove("one")
assert again.add("three") == first
print(first, second)
"""


def test_pods_have_addresses_that_everybody_reaches(wire: Wire) -> None:
    private = ["unshare", "--mount", "sh", "-c"]
    script = (
        "mount -t tmpfs none /run/netns && mount --make-shared /run/netns && "
        f"{sys.executable} -c '{POD}' {{}} && ip netns exec two {sys.executable} -S -c '{SERVER}' 0.0.0.0 80"
    )
    with ExitStack() as servers:
        for node in (1, 2):
            command = [*wire.within(node), *private, script.format(wire.plan.pod_cidr(node))]
            process = servers.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            servers.callback(process.kill)
            assert process.stdout
            first, second = process.stdout.readline().split()
            base = wire.plan.pod_cidr(node).rpartition(".")[0]
            assert {first, second} == {f"{base}.2", f"{base}.3"}
            assert process.stdout.readline() == "up\n"
        for client in (0, 1, 2):
            for node in (1, 2):
                base = wire.plan.pod_cidr(node).rpartition(".")[0]
                assert wire.reaches(client, f"{base}.3", 80), (client, node)


def test_two_networks_live_side_by_side_and_remains_are_cleared(wire: Wire, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    second = Wire(other)
    try:
        assert second.plan.slot != wire.plan.slot
        with wire.server(0, wire.plan.host, 80):
            assert wire.reaches(1, wire.plan.host, 80)
            assert not second.reaches(1, second.plan.host, 80)
        second.network.down()
        second.network.down()
        second = Wire(other)
        assert not second.reaches(1, second.plan.host, 80)
        other.rename(tmp_path / "gone")  # a sandbox that nobody took down; its range is given away in the end
        third = tmp_path / "third"
        third.mkdir()
        heir = Network(sandbox_id(third), second.plan)
        heir.up()
        assert not list(Path("/run/netns").glob(f"hamgr-{sandbox_id(other)}*"))
        heir.down()
    finally:
        second.network.down()


def test_a_balancer_may_bind_any_address_of_its_range(wire: Wire) -> None:
    address = wire.plan.balancers[1]
    with wire.server(0, address, 3306):
        assert wire.reaches(1, address, 3306)
        assert wire.reaches(0, address, 3306)
