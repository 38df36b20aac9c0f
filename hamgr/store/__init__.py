"""The only code that speaks etcd: leadership, guarded writes, watches, membership, the request queue and the event log.

Start with `Store(StoreConfig(...))`. Everything is synchronous, bounded in time and safe to call from any thread;
`Leadership.renew` belongs to the control loop.
"""

from hamgr.store.config import StoreConfig
from hamgr.store.errors import (
    CompareFailed,
    Deposed,
    DuplicateMember,
    LeaseLost,
    RequestTimeout,
    StoreAuthError,
    StoreConfigError,
    StoreError,
    StoreUnavailable,
)
from hamgr.store.eventlog import EventLog, read_events
from hamgr.store.leadership import Leadership, Token
from hamgr.store.membership import MemberInfo, Membership, members_of
from hamgr.store.requests import Request, RequestHandle, RequestQueue, RequestRefused, Requests
from hamgr.store.store import Leased, Store
from hamgr.store.values import Change, Entry, Json, Snapshot
from hamgr.store.watch import Watch

__all__ = [
    "Change",
    "CompareFailed",
    "Deposed",
    "DuplicateMember",
    "Entry",
    "EventLog",
    "Json",
    "Leadership",
    "LeaseLost",
    "Leased",
    "MemberInfo",
    "Membership",
    "Request",
    "RequestHandle",
    "RequestQueue",
    "RequestRefused",
    "RequestTimeout",
    "Requests",
    "Snapshot",
    "Store",
    "StoreAuthError",
    "StoreConfig",
    "StoreConfigError",
    "StoreError",
    "StoreUnavailable",
    "Token",
    "Watch",
    "members_of",
    "read_events",
]
