"""What a fence has left behind on a node that is proved off, and doing it later: a fence does not wait for ever.

After the proof nobody can write from there, so what takes too long then (a detach that hangs, an API server that does
not answer) is stepped over: the node's other resources must not wait for one disk. It costs an outage, not data, since
whoever needs that disk waits for its detach. The fence's own rules go on with it here while the node is away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hamgr.fencer import effects, machine, observe
from hamgr.fencer.machine import Act, Adopt, Advance, Fail, Seen, Wait
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import POWER_LEVELS, STEPPED_OVER, FenceRecord, NotOurs, Phase
from hamgr.kube.gateway import Kube

_STEPS = 12  # of a phase in one look; more would mean that somebody undoes each


def may_be_left(record: FenceRecord) -> bool:
    """Whether the fence has succeeded, proved its node off, and stepped over something after that."""
    noted = any(step.code == STEPPED_OVER for step in record.steps)
    return noted and record.fenced_whole_node and record.level.level in POWER_LEVELS


def go_on(kube: Kube, record: FenceRecord, cluster: str, may_act: Callable[[], bool]) -> Reason | None:
    """Do what can be done now of what the fence has left; what it waits for, None when nothing is left.

    may_act: whether this process still leads; asked before each effect. Nothing is left of a node that has started
    anew: its kubelet and the attach-detach controller look after its disks. Safe to repeat. Raises KubeError, NotOurs.
    """
    record, detaching = _phase(kube, replace(record, phase=Phase.DETACH), cluster, may_act)
    _, releasing = _phase(kube, replace(record, phase=Phase.RELEASE), cluster, may_act)
    return detaching or releasing


def _phase(
    kube: Kube, record: FenceRecord, cluster: str, may_act: Callable[[], bool]
) -> tuple[FenceRecord, Reason | None]:
    for _ in range(_STEPS):
        seen = _look(kube, record, cluster)
        if machine.in_another_boot(record, seen):
            return record, None
        match machine.next_step(record, seen):
            case Act() as act:
                if not may_act():
                    raise NotOurs("the leadership is not ours any more")
                effects.carry_out(kube, record, act, seen)
            case Adopt(pods, volumes):
                known = {volume.pv: volume for volume in (*record.volumes, *volumes)}
                record = replace(record, pods=(*record.pods, *pods), volumes=tuple(known.values()))
            case Wait(what):
                return record, what
            case Fail(why):
                return record, why
            case Advance():
                return record, None
    return record, reason("comes-back", node=record.target.node)


def _look(kube: Kube, record: FenceRecord, cluster: str) -> Seen:
    seen = Seen(node=observe.see_node(kube, record.target.node))
    if record.phase is not Phase.DETACH:
        return seen
    pods, _ = observe.see_pods(kube, record, cluster)
    return replace(seen, pods=pods, attachments=observe.see_attachments(kube, record))
