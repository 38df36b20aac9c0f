"""The disks of the sandbox against the real kernel: who can write, who gets an error, what survives."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hamgr_sandbox import blockdev
from hamgr_sandbox.disks import (
    Backend,
    DirectoryBackend,
    DiskError,
    DiskInUse,
    DiskStore,
    LoopBackend,
    NoSuchDisk,
    NotAttached,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
MIB = 1 << 20

WRITER = textwrap.dedent(
    """
    import os, sys
    file = open(sys.argv[1], "ab", buffering=0)
    for line in sys.stdin:
        try:
            file.write(line.encode())
            if line.startswith("sync"):
                os.fsync(file.fileno())
            print("ok", flush=True)
        except OSError as error:
            print(error.errno, flush=True)
    """
)


class Writer:
    """A process that holds one file of the disk open and writes a line when told."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", WRITER, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=[pytest.param(LoopBackend(), marks=needs_root, id="image"), DirectoryBackend()])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DiskStore]:
    backend: Backend = request.param
    yield from _closed_at_the_end(DiskStore(tmp_path / "disks", backend), tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[DiskStore]:
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    yield from _closed_at_the_end(DiskStore(tmp_path / "disks"), tmp_path)


def _closed_at_the_end(store: DiskStore, tmp_path: Path) -> Iterator[DiskStore]:
    yield store
    for path in tmp_path.glob("n*"):
        if blockdev.mounted_device(path):
            blockdev.unmount_lazily(path)
    store.close()
    assert blockdev.devices_below(store.root) == []


def test_second_attach_is_refused_and_names_the_holder(store: DiskStore) -> None:
    store.create("pvc-1", 64 * MIB)
    store.attach("pvc-1", "n1")
    store.attach("pvc-1", "n1")
    with pytest.raises(DiskInUse, match="attached to node 'n1'") as caught:
        store.attach("pvc-1", "n2")
    assert caught.value.holder == store.holder("pvc-1") == "n1"
    store.detach("pvc-1", "n2")
    assert store.holder("pvc-1") == "n1", "a detach from another node must not take the disk"


def test_stage_only_where_attached(store: DiskStore, tmp_path: Path) -> None:
    with pytest.raises(NoSuchDisk):
        store.attach("pvc-1", "n1")
    store.create("pvc-1", 64 * MIB)
    with pytest.raises(NotAttached, match="attached to no node"):
        store.stage("pvc-1", "n1", tmp_path / "n1")
    store.attach("pvc-1", "n1")
    with pytest.raises(NotAttached, match="attached to 'n1'"):
        store.stage("pvc-1", "n2", tmp_path / "n2")


def test_data_follow_the_disk(store: DiskStore, tmp_path: Path) -> None:
    store.create("pvc-1", 64 * MIB)
    for node in ("n1", "n2", "n1"):
        store.attach("pvc-1", node)
        store.stage("pvc-1", node, tmp_path / node)
        store.stage("pvc-1", node, tmp_path / node)
        with (tmp_path / node / "log").open("a") as file:
            file.write(f"{node} ")
        store.unstage("pvc-1", node, tmp_path / node)
        store.unstage("pvc-1", node, tmp_path / node)
        store.detach("pvc-1", node)
        store.detach("pvc-1", node)
        assert store.holder("pvc-1") is None
    store.attach("pvc-1", "n3")
    store.stage("pvc-1", "n3", tmp_path / "n3")
    assert (tmp_path / "n3" / "log").read_text() == "n1 n2 n1 "


def test_create_keeps_what_is_there_and_delete_refuses_a_disk_in_use(store: DiskStore, tmp_path: Path) -> None:
    store.create("a handle/with: odd signs", 64 * MIB)
    store.attach("a handle/with: odd signs", "n1")
    store.stage("a handle/with: odd signs", "n1", tmp_path / "n1")
    (tmp_path / "n1" / "file").write_text("x")
    store.create("a handle/with: odd signs", 128 * MIB)
    assert (tmp_path / "n1" / "file").read_text() == "x"
    assert [disk.size_bytes for disk in store.disks()] == [64 * MIB]
    with pytest.raises(DiskInUse):
        store.delete("a handle/with: odd signs")
    store.detach("a handle/with: odd signs", "n1")
    store.delete("a handle/with: odd signs")
    assert store.disks() == []
    assert store.holder("a handle/with: odd signs") is None


def test_writer_on_a_pulled_disk_gets_eio_and_the_next_node_has_all_synced_data(
    images: DiskStore, tmp_path: Path
) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    writer = Writer(tmp_path / "n1" / "log")
    try:
        assert writer.write("sync 1") == "ok"
        assert writer.write("sync 2") == "ok"
        images.detach("pvc-1", "n1")
        assert writer.write("sync 3") == "5"
        images.attach("pvc-1", "n2")
        images.stage("pvc-1", "n2", tmp_path / "n2")
        assert (tmp_path / "n2" / "log").read_text() == "sync 1\nsync 2\n"
        assert writer.write("sync 4") == "5", "the old holder must stay cut off while the new one has the disk"
    finally:
        writer.kill()
    assert (tmp_path / "n2" / "log").read_text() == "sync 1\nsync 2\n"


def test_old_mount_of_a_pulled_disk_cannot_harm_the_new_one(images: DiskStore, tmp_path: Path) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    for number in range(200):  # plenty of metadata for the old file system to write back late
        (tmp_path / "n1" / f"file-{number}").write_text("x" * 5000)
    images.detach("pvc-1", "n1")
    images.attach("pvc-1", "n2")
    images.stage("pvc-1", "n2", tmp_path / "n2")
    (tmp_path / "n2" / "mine").write_text("mine")
    os.sync()
    blockdev.unmount_lazily(tmp_path / "n1")  # an unmount writes the superblock, if it can
    os.sync()
    images.unstage("pvc-1", "n2", tmp_path / "n2")
    images.detach("pvc-1", "n2")
    checked = subprocess.run(
        ["e2fsck", "-fn", images.root / "pvc-1" / "image"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_disk_comes_back_to_the_node_it_was_pulled_from(images: DiskStore, tmp_path: Path) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    images.detach("pvc-1", "n1")
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    (tmp_path / "n1" / "file").write_text("alive")
    assert (tmp_path / "n1" / "file").read_text() == "alive"


def test_a_crash_loses_what_was_not_synced_and_keeps_the_rest(images: DiskStore, tmp_path: Path) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    writer = Writer(tmp_path / "n1" / "log")
    with images.pinned("n1"):
        assert writer.write("sync 1") == "ok"
        assert writer.write("only in memory") == "ok"
        writer.kill()
        blockdev.unmount(tmp_path / "n1")  # as the end of the node's mount namespace does
        images.lose_unsynced("n1")
    assert images.holder("pvc-1") == "n1", "a crash does not detach a disk"
    images.stage("pvc-1", "n1", tmp_path / "n1")
    assert (tmp_path / "n1" / "log").read_text() == "sync 1\n"


def test_a_stalled_disk_holds_writers_up_and_can_still_be_pulled(images: DiskStore, tmp_path: Path) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    images.stage("pvc-1", "n1", tmp_path / "n1")
    writer = Writer(tmp_path / "n1" / "log")
    assert writer.process.stdin
    try:
        assert writer.write("sync 1") == "ok"
        images.stall("pvc-1")
        images.stall("pvc-1")
        images.unstall("pvc-1")
        assert writer.write("sync 2") == "ok"
        images.stall("pvc-1")
        writer.process.stdin.write("sync 3\n")
        writer.process.stdin.flush()
        images.detach("pvc-1", "n1")
        assert writer.process.stdout
        assert writer.process.stdout.readline().strip() == "5"
    finally:
        writer.kill()


SYNCERS = """
import os, sys, threading
def append(name):
    log = os.open(f"{sys.argv[1]}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    told = os.open(f"{sys.argv[2]}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(log, b"x")
            os.fdatasync(log)
            os.write(told, b"x")
    except OSError:
        pass
threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
[thread.start() for thread in threads]
print("writing", flush=True)
"""


def test_what_a_pulled_disk_said_to_be_synced_is_there(images: DiskStore, tmp_path: Path) -> None:
    """Ext4, shut down in the middle of a sync, may say that all is well when nothing of it has reached the disk."""
    images.create("pvc-1", 64 * MIB)
    disk = tmp_path / "n1"
    for attempt in range(12):
        told = tmp_path / f"told-{attempt}"
        told.mkdir()
        images.attach("pvc-1", "n1")
        images.stage("pvc-1", "n1", disk)
        command = [sys.executable, "-c", SYNCERS, str(disk), str(told)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writers:
            assert writers.stdout
            writers.stdout.readline()
            time.sleep(0.02 * (attempt % 5))
            images.detach("pvc-1", "n1")
        images.attach("pvc-1", "n1")
        images.stage("pvc-1", "n1", disk)
        for file in told.iterdir():
            log = disk / file.name
            assert log.stat().st_size >= file.stat().st_size, f"attempt {attempt}"
            log.unlink()
        images.unstage("pvc-1", "n1", disk)
        images.detach("pvc-1", "n1")


def test_without_root_the_holder_is_killed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "disks", DirectoryBackend())
    store.create("pvc-1", MIB)
    store.attach("pvc-1", "n1")
    store.stage("pvc-1", "n1", tmp_path / "n1")
    writer = Writer(tmp_path / "n1" / "log")
    try:
        assert writer.write("sync 1") == "ok"
        store.detach("pvc-1", "n1")
        assert writer.process.wait(5) == -9
    finally:
        writer.kill()
    with pytest.raises(FileNotFoundError):
        (tmp_path / "n1" / "log").read_text()
    store.attach("pvc-1", "n2")
    with pytest.raises(DiskError, match="only as root"):
        store.stall("pvc-1")


def test_two_stores_on_one_directory_agree(store: DiskStore) -> None:
    other = DiskStore(store.root, store._backend)
    store.create("pvc-1", 64 * MIB)
    store.attach("pvc-1", "n1")
    with pytest.raises(DiskInUse):
        other.attach("pvc-1", "n2")
    other.detach("pvc-1", "n1")
    assert store.holder("pvc-1") is None


def test_a_restarted_machine_finds_its_disks_again(images: DiskStore, tmp_path: Path) -> None:
    images.create("pvc-1", 64 * MIB)
    images.attach("pvc-1", "n1")
    [device] = blockdev.devices_below(images.root)
    blockdev.unplug(device)  # loop devices do not outlive a reboot, the files do
    images.stage("pvc-1", "n1", tmp_path / "n1")
    (tmp_path / "n1" / "file").write_text("x")
    images.unstage("pvc-1", "n1", tmp_path / "n1")
