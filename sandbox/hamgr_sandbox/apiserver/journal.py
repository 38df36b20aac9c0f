"""The objects on disk, so that an API server that was killed comes back with its cluster.

One line of JSON a change, written before the answer goes out and left to the operating system's cache: it survives the
death of the process, not of the machine. At start the file is read, shortened to the present state, and continued. A
last line that was cut short by the death was never answered for, and is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from hamgr_sandbox.apiserver.storage import Event, Storage

Obj = dict[str, Any]


class BadJournal(Exception):
    """A journal that cannot be read, and why."""


class Journal:
    """The file of one server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None

    def restore(self, storage: Storage) -> bool:
        """Bring the storage to the state of the file; False when there is nothing. Raises BadJournal, OSError."""
        if not self._path.exists():
            return False
        for record in self._records():
            storage.restore(record["kind"], (record["namespace"], record["name"]), record["object"], record["revision"])
        return storage.revision > 1

    def _records(self) -> Iterator[Obj]:
        with self._path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith("\n"):
                    return  # cut short
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise BadJournal(f"{self._path}: line {number} is not a record of the sandbox ({error})") from error

    def follow(self, storage: Storage) -> None:
        """Write the present state, then every change from now on. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(self._path.name + ".part")
        with part.open("w", encoding="utf-8") as stream:
            for kind in storage.kinds():
                for obj in storage.items(kind):
                    metadata = obj["metadata"]
                    key = (metadata.get("namespace", ""), metadata["name"])
                    stream.write(_line(kind, key, obj, storage.revision))
        part.replace(self._path)
        self._stream = self._path.open("a", encoding="utf-8")
        storage.listeners.insert(0, self._note)

    def _note(self, kind: str, event: Event) -> None:
        assert self._stream is not None
        self._stream.write(_line(kind, event.key, event.new, event.revision))
        self._stream.flush()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _line(kind: str, key: tuple[str, str], obj: Obj | None, revision: int) -> str:
    record = {"kind": kind, "namespace": key[0], "name": key[1], "revision": revision, "object": obj}
    return json.dumps(record, separators=(",", ":")) + "\n"
