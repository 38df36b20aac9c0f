"""Disks, their attachments and their mounts, from objects as Kubernetes writes them."""

from __future__ import annotations

import pytest

from hamgr.kube.mounts import mounts_of
from hamgr.kube.volumes import (
    UnusableVolume,
    Volume,
    attachments_among,
    claims_of,
    name_settles_s,
    remove_from_in_use,
    users_of_claim,
    volume_of,
)

VOLUME = Volume("pv1", "disk.testbed", "vol1")


def test_names_are_kubernetes_own() -> None:
    # Names as a real cluster gave them to the attachments of this disk on these three nodes.
    assert {node: VOLUME.attachment_name(node) for node in ("n1", "n2", "n3")} == {
        "n1": "csi-36c4b93499ff2331174837470455f3ceaad8974d8f36aab49c2253bfe7bdb48d",
        "n2": "csi-d1e1e283a13a3ce74c435569f4f675b180aa72d41c241ce40ce78fa7e1b480ed",
        "n3": "csi-9ba8b331456daf09cb598c78eda15f26abe3f886073fd1c8f9922205f3458784",
    }
    assert VOLUME.unique_name == "kubernetes.io/csi/disk.testbed^vol1"


@pytest.mark.parametrize("took_s", [0.0, 0.3, 0.6, 4.0, 30.0, 119.0])
def test_a_name_rests_until_a_controller_that_polls_it_has_looked_once_more(took_s: float) -> None:
    # The controller's own way of looking, with its jitter at its longest.
    looked_at, pause = 0.0, 0.5
    while looked_at < took_s:
        looked_at, pause = looked_at + 1.1 * pause, min(1.05 * pause, 7.0)
    assert looked_at < took_s + name_settles_s(took_s)


def test_a_name_does_not_rest_longer_than_a_controller_sleeps() -> None:
    assert name_settles_s(0.3) < 1.0
    assert name_settles_s(3600.0) < 8.0


class Refusing:
    """A gateway that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    def patch_merge(self, path: str, body: object) -> None:
        self.sent.append((path, body))


def test_a_release_is_void_once_anything_was_written_into_the_node_since() -> None:
    kube = Refusing()
    node = {
        "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7"},
        "status": {"volumesInUse": ["other", VOLUME.unique_name]},
    }
    assert remove_from_in_use(kube, node, VOLUME)  # type: ignore[arg-type]
    metadata = {"uid": "u", "resourceVersion": "7"}
    assert kube.sent == [("/api/v1/nodes/n1/status", {"metadata": metadata, "status": {"volumesInUse": ["other"]}})]
    assert not remove_from_in_use(kube, node | {"status": {}}, VOLUME)  # type: ignore[arg-type]
    assert len(kube.sent) == 1


def test_a_volume_that_is_not_csi_is_refused() -> None:
    pv = {"metadata": {"name": "local"}, "spec": {"hostPath": {"path": "/x"}}}
    with pytest.raises(UnusableVolume, match="local is not a CSI volume"):
        volume_of(pv)


def test_attachments_belong_to_the_volume_whatever_their_name() -> None:
    ours = {
        "metadata": {"name": "by-hand", "uid": "u", "deletionTimestamp": "t"},
        "spec": {"nodeName": "n1", "source": {"persistentVolumeName": "pv1"}},
        "status": {"attached": True, "detachError": {"message": "busy"}},
    }
    other = {
        "metadata": {"name": "x", "uid": "v"},
        "spec": {"nodeName": "n1", "source": {"persistentVolumeName": "pv2"}},
    }
    (found,) = attachments_among([other, ours], VOLUME)
    assert (found.name, found.node, found.attached, found.leaving, found.detach_error) == (
        "by-hand",
        "n1",
        True,
        True,
        "busy",
    )


def test_users_of_a_claim() -> None:
    def pod(name: str, namespace: str, claim: str, phase: str = "Running") -> dict[str, object]:
        volumes = [{"name": "e", "emptyDir": {}}, {"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
        return {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"volumes": volumes},
            "status": {"phase": phase},
        }

    pods = [pod("a", "x", "data"), pod("b", "y", "data"), pod("c", "x", "logs"), pod("d", "x", "data", "Succeeded")]
    given_up = pod("e", "x", "data", "Failed")  # by the pod garbage collector: its kubelet has not confirmed anything
    given_up["status"] = {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    assert [p["metadata"]["name"] for p in users_of_claim([*pods, given_up], "x", "data")] == ["a", "e"]
    assert claims_of(pods[0]) == ("data",)


MOUNTINFO = """\
25 1 0:23 / / rw - ext4 /dev/vda rw
98 25 7:1 / {root}/plugins/kubernetes.io/csi/disk.testbed/{hash}/globalmount rw shared:9 - ext4 /dev/loop1 rw
99 25 7:1 / {root}/pods/0a1b/volumes/kubernetes.io~csi/pv1/mount rw shared:9 - ext4 /dev/loop1 rw
97 25 7:2 / {root}/pods/0a1b/volumes/kubernetes.io~csi/pv10/mount rw - ext4 /dev/loop2 rw
"""


def test_mounts_of_a_volume_wherever_the_kubelet_lives() -> None:
    for root, written in (("/var/lib/kubelet", "/var/lib/kubelet"), ("/srv/my kubelet", r"/srv/my\040kubelet")):
        text = MOUNTINFO.format(root=written, hash=VOLUME.global_mount_id)
        assert mounts_of(VOLUME, text) == [
            f"{root}/plugins/kubernetes.io/csi/disk.testbed/{VOLUME.global_mount_id}/globalmount",
            f"{root}/pods/0a1b/volumes/kubernetes.io~csi/pv1/mount",
        ]
        assert mounts_of(Volume("pv2", "disk.testbed", "vol2"), text) == []


@pytest.mark.parametrize(
    "place",
    [
        "plugins/kubernetes.io/csi/pv/pv1/globalmount",  # staged by a kubelet before 1.24 and mounted ever since
        "plugins/kubernetes.io/csi/volumeDevices/pv1/dev/0a1b",
        "plugins/kubernetes.io/csi/volumeDevices/publish/pv1/0a1b",
        "plugins/kubernetes.io/csi/volumeDevices/staging/pv1/dev",
        "pods/0a1b/volumeDevices/kubernetes.io~csi/pv1",
        "pods/0a1b/volume-subpaths/pv1/main/0",
    ],
)
def test_every_place_at_which_a_kubelet_has_a_volume_counts(place: str) -> None:
    text = f"97 25 7:1 / /var/lib/kubelet/{place} rw - ext4 /dev/loop1 rw"
    assert mounts_of(VOLUME, text) == [f"/var/lib/kubelet/{place}"]
    assert mounts_of(VOLUME, text.replace("pv1", "pv10")) == []
