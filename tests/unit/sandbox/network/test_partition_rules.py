"""What a partition tells the kernel to drop."""

from hamgr_sandbox.network import Cut, Direction, Endpoint, Peer, partition_rules

ETCD = [Endpoint("198.18.0.1", 2379)]
API = [Endpoint("198.18.0.1", 6443)]


def chain(script: str, name: str) -> list[str]:
    """The rules of one chain, without the line that lets other devices pass."""
    inside = script.split(f"chain {name} {{")[1].split("}")[0]
    return [line.strip() for line in inside.splitlines()[2:] if line.strip()]


def test_no_cut_removes_the_table_and_makes_none() -> None:
    script = partition_rules([], ETCD, API)
    assert "delete table" in script
    assert "chain" not in script


def test_direction_is_the_nodes_own() -> None:
    script = partition_rules([Cut(Peer.ALL, Direction.IN)], ETCD, API)
    assert chain(script, "into") == ["drop"]
    assert chain(script, "out") == []
    script = partition_rules([Cut(Peer.ETCD, Direction.OUT)], ETCD, API)
    assert chain(script, "into") == []
    assert chain(script, "out") == ["ip daddr 198.18.0.1 tcp dport 2379 drop"]


def test_clients_are_all_but_etcd_and_the_api_server() -> None:
    script = partition_rules([Cut(Peer.CLIENTS, Direction.BOTH)], ETCD, API)
    assert chain(script, "into") == [
        "ip saddr 198.18.0.1 tcp sport 2379 accept",
        "ip saddr 198.18.0.1 tcp sport 6443 accept",
        "drop",
    ]


def test_a_cut_from_etcd_holds_beside_one_from_clients() -> None:
    cuts = [Cut(Peer.CLIENTS, Direction.BOTH), Cut(Peer.ETCD, Direction.BOTH)]
    rules = chain(partition_rules(cuts, ETCD, API), "out")
    assert rules.index("ip daddr 198.18.0.1 tcp dport 2379 drop") < rules.index(
        "ip daddr 198.18.0.1 tcp dport 2379 accept"
    )
