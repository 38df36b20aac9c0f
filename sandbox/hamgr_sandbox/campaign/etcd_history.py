"""What etcd says about the past: values as they were at a revision, so that an audit needs nobody's word.

The sandbox's etcd keeps an hour of its past, which is longer than a campaign uses one sandbox.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox.layout import CLUSTER_NAME

_PREFIX = f"/hamgr/{CLUSTER_NAME}/"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One key at one revision."""

    key: str
    value: Any
    create_revision: int
    mod_revision: int


class EtcdHistory:
    """Reads over etcd's JSON gateway. Raises OSError, ValueError when etcd does not answer as it should."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoint = endpoints[0]

    def read(self, prefix: str, revision: int = 0, *, since: int = 0, timeout_s: float = _TIMEOUT_S) -> list[Kept]:
        """All keys below a prefix, relative to the cluster's, as they were at a revision (0: now).

        since: only those that were made after this revision.
        """
        first = (_PREFIX + prefix).encode()
        last = first[:-1] + bytes([first[-1] + 1])
        query = {"revision": revision, "range_end": _encoded(last), "min_create_revision": since + 1 if since else 0}
        return _kept(self._range(first, query, timeout_s))

    def changed(self, prefix: str, revision: int) -> list[Kept]:
        """The keys below a prefix that were written at exactly this revision, as they were then."""
        first = (_PREFIX + prefix).encode()
        last = first[:-1] + bytes([first[-1] + 1])
        query = {"revision": revision, "range_end": _encoded(last), "min_mod_revision": revision}
        return _kept(self._range(first, query))

    def get(self, key: str, revision: int = 0) -> Kept | None:
        """One key as it was at a revision (0: now)."""
        found = _kept(self._range((_PREFIX + key).encode(), {"revision": revision}))
        return found[0] if found else None

    def revision(self) -> int:
        """The newest revision."""
        return int(self._range(_PREFIX.encode(), {})["header"]["revision"])

    def _range(self, first: bytes, more: dict[str, Any], timeout_s: float = _TIMEOUT_S) -> Any:
        query = {"key": _encoded(first), **more}
        request = urllib.request.Request(f"{self._endpoint}/v3/kv/range", json.dumps(query).encode())
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return json.loads(response.read())


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _kept(answer: Any) -> list[Kept]:
    return [
        Kept(
            base64.b64decode(each["key"]).decode()[len(_PREFIX) :],
            json.loads(base64.b64decode(each.get("value", "")) or b"null"),
            int(each["create_revision"]),
            int(each["mod_revision"]),
        )
        for each in answer.get("kvs", [])
    ]
