"""When a fenced node counts as back."""

from dataclasses import replace

import pytest
from fixtures.fences import DISK, IN_USE, POD, a_record

from hamgr.fencer.machine import NodeSeen
from hamgr.fencer.records import FenceRecord, Target
from hamgr.fencer.topology import Level
from hamgr.fencer.unfence import not_back

READY = NodeSeen(uid="node-uid", boot_id="boot-1", ready=True)
RESTARTED = replace(READY, boot_id="boot-2")


def why(record: FenceRecord, node: NodeSeen, *pod_uids: str) -> str:
    found = not_back(record, node, pod_uids)
    return "" if found is None else found.code


@pytest.mark.parametrize("level", Level)
def test_a_node_that_is_not_there_or_not_ready_is_not_back(level: Level) -> None:
    record = a_record(level)
    assert why(record, replace(RESTARTED, exists=False)) == "not-ready"
    assert why(record, replace(RESTARTED, ready=False)) == "not-ready"
    assert why(record, replace(RESTARTED, ready=None)) == "not-ready"
    assert why(record, RESTARTED) == ""


@pytest.mark.parametrize(
    ("level", "code"),
    [
        (Level.STOP, ""),
        (Level.VOLUME, ""),
        (Level.NODE, "same-boot"),
        (Level.WATCHDOG, "same-boot"),
        (Level.MANUAL, "same-boot"),
    ],
)
def test_only_what_was_fenced_as_a_machine_has_to_have_restarted(level: Level, code: str) -> None:
    assert why(a_record(level), READY) == code


def test_where_no_boot_was_known_none_is_asked_for() -> None:
    record = a_record(Level.NODE, boot_id="", target=Target("n1"))
    assert why(record, replace(READY, boot_id="")) == ""
    assert why(record, READY) == ""


@pytest.mark.parametrize("node", [READY, RESTARTED])
def test_a_fenced_pod_that_is_left_keeps_its_node_away(node: NodeSeen) -> None:
    assert why(a_record(), node, "another", POD.uid) == "pod-still-there"
    assert why(a_record(), node, "another") == ""


def test_a_disk_counts_as_used_only_in_the_boot_that_was_fenced() -> None:
    """After a restart it is somebody's who was given it since."""
    assert why(a_record(), replace(READY, in_use=("kubernetes.io/csi/other^x", IN_USE))) == "volume-still-used"
    assert why(a_record(), replace(READY, in_use=("kubernetes.io/csi/other^x",))) == ""
    assert why(a_record(), replace(RESTARTED, in_use=(IN_USE,))) == ""


def test_a_disk_that_the_fence_itself_took_off_the_list_counts_as_used_until_the_kubelet_has_reported() -> None:
    """Only the kubelet's own list tells what it mounts; it takes the mark out when it writes that list again."""
    mark = DISK.volume.released_mark
    assert why(a_record(), replace(READY, in_use=("kubernetes.io/csi/other^x", mark))) == "not-reported"
    assert why(a_record(boot_id=""), replace(READY, in_use=(mark,))) == "not-reported"
    assert why(a_record(), replace(RESTARTED, in_use=(mark,))) == ""


def test_a_disk_is_looked_for_where_no_boot_was_known() -> None:
    assert why(a_record(boot_id="", target=Target("n1")), replace(READY, in_use=(IN_USE,))) == "volume-still-used"
