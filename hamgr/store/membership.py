"""Who is there: each hamgrd's own key on a lease of its own, renewed by a thread of its own.

A member whose lease has run out is gone for everybody else, so `renewed_until()` is what the node's self-fencing goes
by: before that time (monotonic) no other node can have seen this member vanish. That the renewal does not depend on
the control loop is deliberate: the node is alive as long as its lease is, whoever leads.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import structlog

from hamgr.cib.typed import checked
from hamgr.clock import boottime
from hamgr.store.errors import DuplicateMember, LeaseLost, StoreError, StoreUnavailable
from hamgr.store.store import Leased, Store
from hamgr.store.values import Entry, Snapshot

MEMBERS = "members/"
PROMISES = "promises/"
GOODBYES = "goodbyes/"
GOODBYE_S = 60  # until then there is a leader who has read it
DEFAULT_TTL_S = 5
RENEWALS_PER_TTL = 5
POLL_S = 0.1

log = structlog.get_logger(__name__)


def process_identity(proc: Path = Path("/proc/self")) -> str:
    """Names one process for ever: PID namespace, PID and start time. Empty where /proc says nothing."""
    try:
        namespace = os.readlink(proc / "ns/pid")
        stat = (proc / "stat").read_text()
    except OSError:
        return ""
    after_name = stat.rpartition(")")[2].split()
    return f"{namespace}/{stat.split(' ', 1)[0]}/{after_name[19]}"


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """What `members/NODE` says.

    since: wall time of the start. ttl_s: the lease's. self_fence: seconds after its last renewal by which the node has
    stopped its own instances, or None when nothing makes sure of that. leaving: it is stopping in good order.
    """

    node: str
    boot_id: str
    version: str = ""
    self_fence: float | None = None
    ttl_s: int = DEFAULT_TTL_S
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    pid: int = field(default_factory=os.getpid)
    process: str = field(default_factory=process_identity)
    since: float = field(default_factory=time.time)
    leaving: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MemberInfo:
        """Read a member's key; unknown fields are skipped. Raises ValueError."""
        known = {item.name for item in fields(cls)}
        try:
            return checked(cls(**{key: entry for key, entry in value.items() if key in known}))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a member's entry: {error}") from None


@dataclass(frozen=True, slots=True)
class Promise:
    """What `promises/NODE` says: whatever becomes of its hamgrd, this boot of the node stops its own instances.

    The key is on no lease, because it counts when the member's key is gone. self_fence and ttl_s as in `MemberInfo`.
    """

    self_fence: float
    ttl_s: float
    boot_id: str

    @classmethod
    def from_json(cls, value: Any) -> Promise:
        """Read the key's value; unknown fields are skipped. Raises ValueError."""
        try:
            return checked(cls(value["self_fence"], value["ttl_s"], value["boot_id"]))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a promise: {error}") from None

    def is_as_good_as(self, self_fence_s: float, ttl_s: float) -> bool:
        """Whether, from when its member's key is seen gone, it is kept no later than one with these times."""
        return self.self_fence - self.ttl_s <= self_fence_s - ttl_s


def members_of(snapshot: Snapshot) -> dict[str, MemberInfo]:
    """Node to member, from any snapshot that covers `members/`.

    An entry that cannot be read and hangs on a lease is a member of which nothing else is known: somebody renews it,
    and it must not be taken for lost. Others are left out.
    """
    found = {}
    for key, entry in snapshot.entries.items():
        if key.startswith(MEMBERS):
            try:
                found[key.removeprefix(MEMBERS)] = MemberInfo.from_json(entry.value)
            except ValueError:
                log.warning("member_entry_malformed", key=key)
                if entry.lease:
                    node = key.removeprefix(MEMBERS)
                    found[node] = MemberInfo(node, "", id="", pid=0, process="", since=0.0)
    return found


def is_dead_predecessor(old: MemberInfo, new: MemberInfo, proc: Path = Path("/proc")) -> bool:
    """Whether `old` was a process of this very boot and PID namespace that does not exist any more."""
    if not (old.process and new.process) or old.boot_id != new.boot_id or old.process == new.process:
        return False
    if old.process.split("/")[0] != new.process.split("/")[0]:
        return False
    return process_identity(proc / str(old.pid)) != old.process


class Membership:
    """This process's place among the members. Thread-safe."""

    def __init__(
        self,
        store: Store,
        info: MemberInfo,
        on_lost: Callable[[str], None] = lambda _reason: None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """`on_lost(reason)` is called once, from the renewal thread, when the key or its lease is gone."""
        self._store = store
        self._clock = clock
        self._on_lost = on_lost
        self._info = info
        self._key = MEMBERS + info.node
        self._lease = 0
        self._sent = float("-inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def info(self) -> MemberInfo:
        """What the others read of us."""
        return self._info

    def renewed_until(self) -> float:
        """Monotonic time before which nobody can have seen our lease expire; -inf when we are no member."""
        return self._sent + self._info.ttl_s

    def join(self, wait_s: float | None = None) -> None:
        """Become a member; waits up to `wait_s` (default: the TTL and a second) for the lease of a crashed predecessor.

        A predecessor that is provably dead (same boot, process gone) is replaced at once, without a gap that others
        could take for a lost node. Raises DuplicateMember, StoreUnavailable and the store's other errors.
        """
        deadline = self._clock() + (self._info.ttl_s + 1.0 if wait_s is None else wait_s)
        lease, sent = self._store.grant(self._info.ttl_s)
        try:
            while not self._try_to_join(lease):
                if self._clock() >= deadline:
                    raise self._duplicate()
                time.sleep(POLL_S)
                sent = self._store.keep_alive(lease)
        except DuplicateMember:
            self._drop(lease)
            raise
        # After any other error the entry may be there all the same. It must not go before its lease runs out: others
        # count from when they see it go, as from a TTL after the last renewal, until this node has fenced itself.
        self._lease, self._sent = lease, sent
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_renewing, name="member lease", daemon=True)
        self._thread.start()

    def update(self, info: MemberInfo) -> None:
        """Tell the others something new about us; node and id stay. Raises LeaseLost and the store's other errors."""
        info = replace(info, node=self._info.node, id=self._info.id, ttl_s=self._info.ttl_s)
        mine = self._store.get(self._key)
        if mine is None or mine.lease != self._lease:
            raise LeaseLost(f"{self._info.node} is no member any more")
        self._store.compare_and_put(self._key, Leased(asdict(info), self._lease), mine.mod_revision)
        self._info = info

    def leave(self, *, clean: bool = True) -> None:
        """Stop renewing; `clean` tells the others that this is no failure, and ends the membership at once."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        lease, self._lease = self._lease, 0
        self._sent = float("-inf")
        if not clean or not lease:
            return
        try:
            self._lease = lease
            self._say_goodbye()
            self.update(replace(self._info, leaving=True))
        except StoreError as error:
            log.info("member_left_without_notice", node=self._info.node, error=str(error))
        finally:
            self._lease = 0
            self._drop(lease)

    def _say_goodbye(self) -> None:
        """Leave word that outlives the member's key, for a leader who is not elected yet: often it is he who leaves."""
        lease, _ = self._store.grant(GOODBYE_S)
        said = {"node": self._info.node, "id": self._info.id, "at": time.time()}
        self._store.transact(puts={GOODBYES + self._info.node: Leased(said, lease)})

    def _try_to_join(self, lease: int) -> bool:
        existing = self._store.get(self._key)
        if existing is not None and existing.lease == lease:
            return True
        if existing is not None and not self._may_replace(existing):
            return False
        expected = 0 if existing is None else existing.mod_revision
        result = self._store.transact(
            compares={self._key: expected},
            puts={self._key: Leased(asdict(self._info), lease)},
            deletes=(GOODBYES + self._info.node,),
            reads=(self._key,),
        )
        entry = result.entries.get(self._key)
        return entry is not None and entry.lease == lease

    def _may_replace(self, existing: Entry) -> bool:
        try:
            old = MemberInfo.from_json(existing.value)
            return old.id == self._info.id or is_dead_predecessor(old, self._info)
        except ValueError:
            return False

    def _duplicate(self) -> DuplicateMember:
        entry = self._store.get(self._key)
        other = dict(entry.value) if entry is not None and isinstance(entry.value, dict) else {}
        began = other.get("since", 0)
        is_time = isinstance(began, int | float) and 0 <= began < 1e11
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began if is_time else 0))
        return DuplicateMember(
            f"node name {self._info.node!r} is held by another live hamgrd (pid {other.get('pid')}, boot "
            f"{other.get('boot_id')}, since {since} UTC): stop that one, or give this node its own name"
        )

    def _keep_renewing(self) -> None:
        interval = self._info.ttl_s / RENEWALS_PER_TTL
        while not self._stop.wait(max(0.0, self._sent + interval - self._clock())):
            try:
                self._renew_once(interval)
            except LeaseLost as error:
                self._sent = float("-inf")
                log.error("membership_lost", node=self._info.node, error=str(error))
                self._on_lost(str(error))
                return
            except StoreUnavailable as error:
                log.warning("member_renewal_failed", node=self._info.node, error=str(error))
                self._stop.wait(POLL_S)
            except Exception:  # nothing odd may end the renewal: the node would be fenced for it
                log.error("member_renewal_failed", node=self._info.node, exc_info=True)
                self._stop.wait(POLL_S)

    def _renew_once(self, interval: float) -> None:
        sent = self._store.keep_alive(self._lease, budget_s=max(interval, self._store.config.attempt_timeout_s * 2))
        mine = self._store.get(self._key)
        if mine is None or mine.lease != self._lease:
            raise LeaseLost(f"the entry of {self._info.node} was deleted or taken over by another hamgrd")
        self._sent = sent

    def _drop(self, lease: int) -> None:
        try:
            self._store.revoke(lease)
        except StoreError:
            pass  # it runs out by itself
