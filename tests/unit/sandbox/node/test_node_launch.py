"""From a container's specification to its process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hamgr_sandbox.images import Image, ImageMissing, Images
from hamgr_sandbox.node.isolation import Mount, Process
from hamgr_sandbox.node.launch import BadConfig, Surroundings, process_for
from hamgr_sandbox.node.podnetwork import PodAddress

IMAGE = Image(("entry",), ("serve", "--data=/data"), {"DATADIR": "/data"}, (("/m/template", "/usr/share/template"),))
AROUND = Surroundings(
    {"data": Path("/k/vol")}, PodAddress("10.1.0.1", "pod-u"), "n1", Path("/k/pods/u/containers/c"), True, True
)
PLAIN = replace(AROUND, isolated=False, root=False, address=PodAddress("127.1.0.1"))


def process(around: Surroundings = AROUND, of_pod: dict[str, Any] | None = None, **container: Any) -> Process:
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": of_pod or {}}
    return process_for(pod, {"name": "c", **container}, IMAGE, {"PW": "x y"}, around)


@pytest.mark.parametrize(
    ("container", "argv"),
    [
        ({}, ("entry", "serve", "--data=/data")),
        ({"args": ["other"]}, ("entry", "other")),
        ({"command": ["sh"]}, ("sh",)),
        ({"command": ["sh", "-c"], "args": ["echo $(PW) $(HAMGR_POD_UID)"]}, ("sh", "-c", "echo x y u")),
    ],
)
def test_command_and_arguments(container: dict[str, Any], argv: tuple[str, ...]) -> None:
    assert process(**container).argv == argv


def test_volumes_and_views_are_mounted_where_the_container_expects_them() -> None:
    mounts = process(
        volumeMounts=[
            {"name": "data", "mountPath": "/data/deep", "subPath": "a/b", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ]
    ).mounts
    assert mounts[:2] == (Mount("/k/vol", "/data"), Mount("/k/vol/a/b", "/data/deep", True))
    assert Mount("/m/template", "/usr/share/template", True) in mounts


@pytest.mark.parametrize("below", ["../secret", "/etc"])
def test_a_sub_path_stays_in_its_volume(below: str) -> None:
    with pytest.raises(BadConfig, match="below the volume"):
        process(volumeMounts=[{"name": "data", "mountPath": "/data", "subPath": below}])


def test_a_mount_of_no_volume_is_refused() -> None:
    with pytest.raises(BadConfig, match='"other" names no volume'):
        process(volumeMounts=[{"name": "other", "mountPath": "/data"}])


def test_a_volume_of_the_image_is_empty_unless_something_is_mounted_there() -> None:
    image = Image(("entry",), volumes=("/var/lib/x",))
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {}}
    own = Mount("/k/pods/u/containers/c/volumes/var-lib-x", "/var/lib/x")
    assert own in process_for(pod, {"name": "c"}, image, {}, AROUND).mounts
    given = {"name": "c", "volumeMounts": [{"name": "data", "mountPath": "/var/lib/x/"}]}
    assert own not in process_for(pod, given, image, {}, AROUND).mounts


def test_identity_comes_from_pod_and_container() -> None:
    of_pod = {"securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [7]}}
    made = process(of_pod=of_pod, securityContext={"runAsUser": 999, "runAsGroup": 5})
    assert (made.uid, made.gid, made.groups) == (999, 5, (7, 2000))
    assert (process().uid, process().gid) == (0, 0)
    assert process(PLAIN, of_pod).uid is None


def test_root_is_refused_where_it_is_not_wanted() -> None:
    with pytest.raises(BadConfig, match="runAsNonRoot"):
        process(of_pod={"securityContext": {"runAsNonRoot": True}})


def test_without_mounts_of_its_own_a_container_is_told_the_places_on_this_machine() -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    made = process(PLAIN, volumeMounts=mounts, args=["--dir", "/data/x", "--log=/data", "/database"])
    assert made.argv == ("entry", "--dir", "/k/vol/x", "--log=/k/vol", "/database")
    assert made.env["DATADIR"] == made.env["HAMGR_MOUNT_DATA"] == "/k/vol"
    assert made.cwd == "/k/pods/u/containers/c/work"


def test_a_server_listens_on_everything_only_in_a_network_of_its_own() -> None:
    assert process().env["HAMGR_BIND_ADDRESS"] == "0.0.0.0"
    assert process(PLAIN).env["HAMGR_BIND_ADDRESS"] == "127.1.0.1"


@pytest.mark.parametrize(
    "reference", ["mariadb", "mariadb:10.11", "docker.io/library/mariadb@sha256:0", "localhost:5000/testbed/mariadb:1"]
)
def test_images_are_known_by_the_last_part_of_their_name(tmp_path: Path, reference: str) -> None:
    assert Images(tmp_path).find(reference, has_command=False).command == ("mariadbd",)


def test_images_that_do_not_exist(tmp_path: Path) -> None:
    images = Images(tmp_path)
    assert images.find("example.org/x:1", has_command=True) == Image()
    with pytest.raises(ImageMissing, match="knows kvapp, mariadb"):
        images.find("example.org/x:1", has_command=False)
    with pytest.raises(ImageMissing, match="no such host"):
        images.find("registry.invalid/mariadb", has_command=True)
