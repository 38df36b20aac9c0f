"""What can happen to the controller: every input of its one thread, as a value in its one queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamgr.controller.stamping import Stamped
from hamgr.executor.operations import OpResult
from hamgr.fencer.records import FenceRecord
from hamgr.kube.objects import Kind, Obj
from hamgr.store.values import Change


@dataclass(frozen=True, slots=True)
class Vacancy:
    """Nobody leads: time to campaign."""


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """Keys in etcd were written or deleted, ours among them."""

    changes: Sequence[Change]
    revision: int


@dataclass(frozen=True, slots=True)
class KubeChanged:
    """The Kubernetes cache saw an object change."""

    kind: Kind
    change: str
    obj: Obj
    old: Obj | None


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """An agent's action has ended, or a recurring one says something new."""

    result: OpResult


@dataclass(frozen=True, slots=True)
class FenceChanged:
    """A fence has come further, or has ended; `record` is the fencer's."""

    record: FenceRecord


@dataclass(frozen=True, slots=True)
class LateRequestsVoid:
    """What past leaders may still send is void by now; `stamped` tells what that took."""

    stamped: Stamped


Event = LateRequestsVoid | Vacancy | StoreChanged | KubeChanged | OperationEnded | FenceChanged
