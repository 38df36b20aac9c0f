"""Who decides: leadership as an etcd lease plus a fencing token, so that a late write of a past leader does nothing.

The leader key hangs on a lease; its create revision is the token. Every write of state compares it inside the same
transaction. The lease is renewed by the control loop itself (`renew`), never by a timer thread: a loop that hangs must
lose leadership. Locally the leader stops trusting itself at `deadline`: the time at which the last successful renewal
was *sent*, plus TTL, minus a margin.

One more thing can be late: our own attempt, stuck in a frozen member of etcd while its repeat went through another.
So each guarded write also compares and bumps the key `writes`; of several copies of one write exactly one takes effect,
and none after a newer write.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from hamgr.clock import boottime
from hamgr.store.errors import CompareFailed, Deposed, LeaseLost, StoreError
from hamgr.store.store import Leased, Store, TxnResult
from hamgr.store.values import Change, Entry, Json
from hamgr.store.watch import Watch

LEADER = "leader"
WRITES = "writes"
DEFAULT_TTL_S = 5
RENEWALS_PER_TTL = 5
LAST_LOOK_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """The fencing token: the create revision of the leader key. Later leaders have greater ones."""

    revision: int


class Leadership:
    """This process's candidacy. `renew` belongs to the control loop; the rest may be called from any thread."""

    def __init__(
        self,
        store: Store,
        node: str,
        *,
        ttl_s: int = DEFAULT_TTL_S,
        margin_s: float = 1.0,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """`margin_s` is the part of the TTL in which we do not lead any more while etcd may still say so.

        `clock` must count as the store's does, which says when requests were sent.
        """
        if not 0 < margin_s < ttl_s:
            raise ValueError(f"the leader's margin must be between 0 and its TTL of {ttl_s} s, not {margin_s}")
        self._store = store
        self._clock = clock
        self._ttl_s = ttl_s
        self._margin_s = margin_s
        self.node = node
        self.id = uuid.uuid4().hex
        self._lock = threading.RLock()  # one guarded write at a time: `writes` puts them in an order
        self._attempts = itertools.count(1)
        self._token: Token | None = None
        self._lease = 0
        self._sent = float("-inf")
        self._last_write = 0
        self._claim: Json = None
        self._odd: tuple[int, float] | None = (
            None  # a leader key that is no leader's: its mod revision, since when seen
        )

    @property
    def token(self) -> Token | None:
        """The token while we lead (or have not yet noticed that we do not), else None."""
        return self._token

    @property
    def deadline(self) -> float:
        """Monotonic time until which we may act as the leader."""
        return self._sent + self._ttl_s - self._margin_s

    def valid(self) -> bool:
        """Whether we may act as the leader now."""
        return self._token is not None and self._clock() < self.deadline

    def left_s(self) -> float:
        """Seconds for which we may act as the leader if nothing is renewed; 0 or less: we may not."""
        return self.deadline - self._clock() if self._token is not None else 0.0

    def confirmed(self) -> bool:
        """Whether etcd itself says now that we lead: a linearizable read, for whoever is about to change something that
        knows no token. It takes a millisecond or so; without an answer in `LAST_LOOK_S` it is no. Raises nothing."""
        token = self._token
        if token is None or not self.valid():
            return False
        try:
            leader = self._store.get(LEADER, budget_s=LAST_LOOK_S)
        except StoreError:
            return False
        return leader is not None and self._is_ours(leader, token) and self.valid()

    def campaign(self) -> Token | None:
        """Try to become the leader, without waiting. None: somebody else leads. Raises StoreUnavailable and others."""
        if not self._seat_is_free():
            return None
        lease, sent = self._store.grant(self._ttl_s)
        claim = {"node": self.node, "id": self.id, "since": time.time(), "lease": lease}
        try:
            result = self._store.transact(
                creates={LEADER: 0},
                puts={LEADER: Leased(claim, lease), WRITES: {"by": self.id, "n": 0}},
                reads=(LEADER, WRITES),
            )
        except StoreError:
            self._forget_lease(lease)
            raise
        entry = result.entries.get(LEADER)
        # A repeat of an attempt that had succeeded finds its own claim: the lease makes it this campaign's.
        if entry is None or entry.lease != lease:
            self._forget_lease(lease)
            return None
        with self._lock:
            self._lease, self._sent, self._claim = lease, sent, claim
            self._token = Token(entry.create_revision)
            self._last_write = result.entries[WRITES].mod_revision
            return self._token

    def _seat_is_free(self) -> bool:
        """Whether a campaign may succeed; a claim of our own that we have stepped down from is taken away first."""
        leader = self._store.get(LEADER)
        if leader is None:
            return True
        if self._token is not None:
            return False
        if _is_odd(leader):
            return self._is_abandoned(leader)
        self._odd = None
        if leader.value["id"] != self.id:
            return False
        self._store.transact(creates={LEADER: leader.create_revision}, deletes=(LEADER,))
        self._forget_lease(leader.lease)
        return True

    def _is_abandoned(self, leader: Entry) -> bool:
        """Take away a leader key that would stay for ever, once it is sure that nobody leads by it.

        A leader puts its key in order at its next renewal, or does not renew: then its own deadline has passed within a
        TTL. So a key that was watched for two, and is as it was, is nobody's.
        """
        now = self._clock()
        if self._odd is None or self._odd[0] != leader.mod_revision:
            self._odd = (leader.mod_revision, now)
            log.warning("leader_key_odd", lease=leader.lease, removed_in_s=2 * self._ttl_s)
        if now - self._odd[1] < 2 * self._ttl_s:
            return False
        self._store.transact(compares={LEADER: leader.mod_revision}, deletes=(LEADER,))
        log.error("leader_key_removed", why="it hung on no leader's lease and would have stayed for ever")
        self._odd = None
        return True

    def renew(self) -> bool:
        """To be called in every round of the control loop; talks to etcd when a fifth of the TTL has passed.

        Returns `valid()`. Raises Deposed when the lease or the key is gone. When etcd does not answer, the deadline
        comes nearer, that is all.
        """
        token = self._token
        if token is None:
            return False
        if self._clock() < self._sent + self._ttl_s / RENEWALS_PER_TTL:
            return self.valid()
        remaining = self.deadline - self._clock()
        if remaining <= 0:
            self._step_down()
            raise Deposed(f"leadership of {self.node} ran out: etcd did not answer for {self._ttl_s} s")
        # Two members are tried, no more: the control loop has other things to do, and is back here soon.
        budget_s = min(remaining, 2 * self._store.config.attempt_timeout_s)
        try:
            sent = self._store.keep_alive(self._lease, budget_s=budget_s)
            leader = self._store.get(LEADER, budget_s=budget_s)
        except LeaseLost:
            self._step_down()
            raise Deposed(f"the leader lease of {self.node} has expired") from None
        except StoreError:
            return self.valid()
        if leader is None or not self._is_ours(leader, token):
            self._step_down()
            raise Deposed(f"the leader key of {self.node} is gone")
        if (leader.lease != self._lease or leader.value != self._claim) and not self._put_in_order(leader, budget_s):
            return self.valid()
        self._sent = sent
        return self.valid()

    def _put_in_order(self, leader: Entry, budget_s: float) -> bool:
        """Somebody has written over our key: hang it on our lease again. False: not now; then nothing was renewed."""
        log.error("leader_key_overwritten", node=self.node, lease=leader.lease)
        try:
            return self._store.transact(
                compares={LEADER: leader.mod_revision},
                puts={LEADER: Leased(self._claim, self._lease)},
                budget_s=budget_s,
            ).succeeded
        except StoreError:
            return False

    def fenced_txn(
        self,
        puts: Mapping[str, Json | Leased] | None = None,
        deletes: Sequence[str] = (),
        compares: Mapping[str, int] | None = None,
    ) -> int:
        """Write all of it, or nothing when we do not lead any more. Returns the revision of the write.

        compares: key to expected mod revision (0: absent). Raises Deposed, CompareFailed, StoreUnavailable (then the
        write has happened or will never happen once a later guarded write succeeds), LeaseLost.
        """
        with self._lock:
            attempt = {"by": self.id, "n": next(self._attempts)}
            while True:
                token = self._require_token()
                result = self._store.transact(
                    creates={LEADER: token.revision},
                    compares={**(compares or {}), WRITES: self._last_write},
                    puts={**(puts or {}), WRITES: attempt},
                    deletes=deletes,
                    reads=(LEADER, WRITES),
                )
                if self._settle(result, token, attempt):
                    return self._last_write

    def resign(self) -> None:
        """Hand over at once: delete the leader key (if it is ours) and revoke the lease. Errors of etcd are ignored."""
        with self._lock:
            token, lease = self._token, self._lease
            self._step_down()
            if token is None:
                return
            try:
                self._store.transact(creates={LEADER: token.revision}, deletes=(LEADER,))
            except StoreError:
                pass  # the lease runs out by itself
            self._forget_lease(lease)

    def current(self) -> dict[str, Any] | None:
        """Who leads, as in the leader key, with its `token`; None when nobody does."""
        entry = self._store.get(LEADER)
        if entry is None:
            return None
        said = entry.value if isinstance(entry.value, dict) else {}
        return {"node": "", "id": "", **said, "token": entry.create_revision}

    def watch_vacancy(self, on_vacant: Callable[[], None]) -> Watch:
        """Call `on_vacant()` whenever the leader key is found missing: time to `campaign()`. The caller stops it.

        It is a hint: it comes from the watch's thread, within milliseconds as a rule and within `silence_s` plus one
        timeout when a member of etcd hangs.
        """

        def on_change(changes: Sequence[Change], _revision: int) -> None:
            if any(change.key == LEADER and change.entry is None for change in changes):
                on_vacant()

        snapshot = self._store.read(LEADER)
        if LEADER not in snapshot.entries:
            on_vacant()
        return self._store.watch(snapshot, on_change)

    def _require_token(self) -> Token:
        if self._token is None:
            raise Deposed(f"{self.node} does not lead")
        if not self.valid():
            raise Deposed(f"{self.node} has not renewed its leadership in time")
        return self._token

    def _settle(self, result: TxnResult, token: Token, attempt: Json) -> bool:
        """Whether the guarded write is done; False: an older attempt of ours was carried out late, so repeat."""
        leader, writes = result.entries.get(LEADER), result.entries.get(WRITES)
        if leader is None or not self._is_ours(leader, token) or writes is None:
            self._step_down()
            raise Deposed(f"{self.node} does not lead any more: the leader key is another's")
        if writes.value == attempt:
            self._last_write = writes.mod_revision
            return True
        if writes.mod_revision == self._last_write:
            raise CompareFailed("a key was changed by somebody else in the meantime: read it again and repeat")
        self._last_write = writes.mod_revision
        return False

    def _is_ours(self, leader: Entry, token: Token) -> bool:
        """By token and name: an etcd that was restored gives the same revisions again, to another leader."""
        return leader.create_revision == token.revision and (_is_odd(leader) or leader.value["id"] == self.id)

    def _step_down(self) -> None:
        self._token = None
        self._sent = float("-inf")

    def _forget_lease(self, lease: int) -> None:
        try:
            self._store.revoke(lease)
        except StoreError:
            pass  # it runs out by itself


def _is_odd(leader: Entry) -> bool:
    """Whether no leader has left the key like this: it would not vanish with a leader, or says nothing of one."""
    said = leader.value
    return not (isinstance(said, dict) and isinstance(said.get("id"), str) and said.get("lease") == leader.lease != 0)
