"""What a fence would do, told from what was discovered."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.fences import DISK, POD

from hamgr.fencer.machine import NodeSeen
from hamgr.fencer.observe import Discovery
from hamgr.fencer.plan import LevelPlan, level_plan
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Target, VolumeRef
from hamgr.fencer.topology import DeviceConfig, FencingConfig, Level, LevelConfig

DETACHED = VolumeRef("pv-2", DISK.driver, "disk-2", "default", "logs")
FOUND = Discovery(NodeSeen(uid="node-uid", ready=True), pods=(POD,), volumes=(DISK, DETACHED))
DEVICES = {"pdu": DeviceConfig("pdu", "fence_apc"), "ipmi": DeviceConfig("ipmi", "fence_ipmilan", nodes=("n1", "n3"))}
CONFIG = FencingConfig(devices=DEVICES, watchdog_margin_s=2.0)
TARGET = Target("n1", self_fence_s=8.0, member_ttl_s=5.0)

CUT = "cut clients off: remove label hamgr.io/role from pod default/db-n1 (UID pod-uid)"
DELETE = "delete pod default/db-n1 (UID pod-uid) by force"
DETACH = "delete VolumeAttachment csi-va (UID va-uid) of pv-1 and wait until it is gone"
RELEASE = [
    "take pv-1 (disk.sandbox.hamgr.io) out of volumesInUse of node n1",
    "take pv-2 (disk.sandbox.hamgr.io) out of volumesInUse of node n1",
]
TAINT = "taint node n1 out-of-service:NoSchedule, unless it counts as Ready"


def planned(level: Level, *devices: str, target: Target = TARGET, found: Discovery = FOUND, **more: Any) -> LevelPlan:
    return level_plan(LevelConfig(level, devices, **more), found, CONFIG, target)


def test_the_volumes_are_detached_one_by_one() -> None:
    plan = planned(Level.VOLUME)
    assert plan.steps == (CUT, DELETE, DETACH, *RELEASE)
    assert (plan.unfit, "CSI driver" in plan.proves) == (None, True)


def test_an_orderly_stop_leaves_the_disk_alone() -> None:
    stop = "delete pod default/db-n1 (UID pod-uid) gracefully and wait for its kubelet"
    assert planned(Level.STOP).steps == (CUT, stop)


@pytest.mark.parametrize(
    ("level", "devices", "isolate"),
    [
        (Level.NODE, ("pdu", "ipmi"), "switch node n1 off by pdu, ipmi and read its state back"),
        (Level.WATCHDOG, (), "wait until the member lease of node n1 is gone for 5 s"),
        (Level.MANUAL, (), "take the operator's word that node n1 is off"),
    ],
)
def test_a_node_that_is_off_loses_everything(level: Level, devices: tuple[str, ...], isolate: str) -> None:
    plan = planned(level, *devices)
    assert plan.steps == (CUT, isolate, TAINT, DELETE, DETACH, *RELEASE)
    assert plan.unfit is None


def test_only_a_reboot_switches_it_on_again() -> None:
    assert planned(Level.NODE, "pdu", action="reboot").steps[-1] == "switch node n1 on again"


def test_what_is_known_to_prove_nothing_is_said_before_it_is_tried() -> None:
    assert planned(Level.NODE).unfit == reason("no-device", node="n1")
    assert planned(Level.NODE, "pdu", "x").unfit == reason("unknown-device", device="x")
    assert planned(Level.NODE, "pdu", "ipmi").unfit is None
    elsewhere = planned(Level.NODE, "pdu", "ipmi", target=Target("n2")).unfit
    assert elsewhere == reason("device-not-for-node", device="ipmi", node="n2", nodes="n1, n3")
    assert planned(Level.WATCHDOG, target=Target("n1")).unfit == reason("no-self-fence", node="n1")
    assert planned(Level.WATCHDOG, target=Target("n1", self_fence_s=0.0)).unfit is None


def test_a_detach_proves_nothing_where_the_driver_or_another_way_to_write_is_in_doubt() -> None:
    foreign = reason("foreign-pod", pod="default/web", pv="pv-1", node="n1")
    assert planned(Level.VOLUME, found=Discovery(NodeSeen(), volumes=(DISK,), obstacles=(foreign,))).unfit == foreign
    passive = Discovery(NodeSeen(), volumes=(DISK,), passive_drivers=frozenset({DISK.driver}))
    assert planned(Level.VOLUME, found=passive).unfit == reason("driver-does-not-attach", driver=DISK.driver, pv="pv-1")
    unknown = Discovery(NodeSeen(), volumes=(DISK, VolumeRef("pv-3", "nfs.csi.k8s.io", "share")))
    not_listed = reason("driver-not-listed", driver="nfs.csi.k8s.io", pv="pv-3")
    assert planned(Level.VOLUME, found=unknown).unfit == not_listed
    assert planned(Level.MANUAL, found=unknown).unfit is None
