"""This node's place among the members, kept for as long as the daemon runs: lost, it is taken again."""

from __future__ import annotations

import threading
from dataclasses import replace

import structlog

from hamgr.store.errors import StoreError
from hamgr.store.membership import MemberInfo, Membership
from hamgr.store.store import Store

_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class Member:
    """Holds the member lease. `join` fails loudly at the start; later losses are mended in the background."""

    def __init__(self, store: Store, info: MemberInfo) -> None:
        self._store = store
        self._info = info
        self._membership = Membership(store, info, self._lost)
        self._stop = threading.Event()
        self._mending: threading.Thread | None = None

    def join(self) -> None:
        """Become a member. Raises DuplicateMember and the store's other errors."""
        self._membership.join()
        log.info("member_joined", member=self._info.node, boot_id=self._info.boot_id)

    def renewed_until(self) -> float:
        """Monotonic time before which nobody can have seen our lease expire."""
        return self._membership.renewed_until()

    @property
    def self_fence_s(self) -> float | None:
        """The bound that the others read of us."""
        return self._info.self_fence

    def tell_self_fence(self, bound_s: float | None) -> None:
        """Publish by when this node stops its own instances, now and after each rejoining. Raises StoreError."""
        self._info = replace(self._info, self_fence=bound_s)
        self._membership.update(self._info)

    def leave(self) -> None:
        """Say goodbye, so that nobody takes it for a failure."""
        self._stop.set()
        if self._mending is not None:
            self._mending.join(timeout=5)
        self._membership.leave()

    def _lost(self, _reason: str) -> None:
        """Called once a membership, from its renewal thread, which ends with that."""
        self._mending = threading.Thread(target=self._mend, name="rejoin", daemon=True)
        self._mending.start()

    def _mend(self) -> None:
        while not self._stop.is_set():
            membership = Membership(self._store, replace(self._info), self._lost)
            try:
                membership.join()
            except StoreError as error:
                log.warning("member_not_rejoined_yet", member=self._info.node, error=str(error))
                self._stop.wait(_AGAIN_S)
                continue
            self._membership = membership
            log.warning("member_rejoined", member=self._info.node)
            return
