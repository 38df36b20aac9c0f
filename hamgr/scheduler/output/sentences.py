"""The scheduler's reasons as sentences: what keeps a resource from a node, or from running at all.

Pure text of codes with data; `hamgr simulate --why` and the leader's findings say it with the same words.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hamgr.scheduler.transition import Reason

UNFIT = {
    "unclean": "it has to be fenced",
    "offline": "it is offline",
    "shutting-down": "it is shutting down",
    "pending": "it has not joined the cluster yet",
    "standby": "it is in standby",
    "maintenance": "it is in maintenance",
    "unlisted": "no location constraint allows it there, and symmetric-cluster is false",
}

_POLICIES = {
    "stop": "no-quorum-policy=stop: nothing may run",
    "freeze": "no-quorum-policy=freeze: what runs goes on, nothing is started",
    "demote": "no-quorum-policy=demote: nothing is promoted, what cannot be promoted is stopped",
    "suicide": "no-quorum-policy=suicide: the nodes of this part are fenced",
}

_CIRCUMSTANCES: Mapping[str, Callable[[Reason], str]] = {
    "unconfigured": lambda r: "It is no longer configured.",
    "blocked": lambda r: "It is blocked: nothing is done about it until a person has looked (then: hamgr cleanup).",
    "node-maintenance": lambda r: "Its node is in maintenance: it is left as it is.",
    "maintenance-mode": lambda r: "The cluster is in maintenance mode: it is left as it is.",
    "unmanaged": lambda r: "It is not managed (is-managed=false): it is left as it is.",
    "no-fence-device": lambda r: (
        "Fencing is on (fencing-enabled), but there is no fence device: nothing is started, moved or stopped."
    ),
    "stop-all-resources": lambda r: "stop-all-resources is set: everything is kept stopped.",
    "target-role": lambda r: (
        "It is disabled (target-role=Stopped)."
        if r.data["role"] == "Stopped"
        else f"It may not be more than {r.data['role']} (target-role)."
    ),
    "no-quorum": lambda r: f"The cluster has no quorum; {_POLICIES[str(r.data['policy'])]}.",
    "no-quorum-demote": lambda r: "Without quorum it may not be promoted.",
    "pending": lambda r: f"Its {r.data['operation']} on {r.node} has not come back yet.",
    "failed": lambda r: (
        f"Its {_operation(r.data)} failed on {r.node} (exit code {r.data['rc']}); "
        f"{_consequence(str(r.data['on_fail']))}."
    ),
    "multiply-active": lambda r: (
        f"It is active on more than one node; multiple-active={r.data['recovery']} says what becomes of that."
    ),
    "ticket": lambda r: f"Its ticket {r.data['ticket']} is not granted (loss-policy={r.data['policy']}).",
    "unclean": lambda r: f"Node {r.node} has to be fenced: {r.data['why']}.",
    "locked": lambda r: f"It waits for {r.node}, which was shut down in good order (shutdown-lock).",
}

_STEPS: Mapping[str, Callable[[Reason], str]] = {
    "clone-max": lambda r: "the clone has all its instances elsewhere (clone-max)",
    "clone-node-max": lambda r: "another instance is there already (clone-node-max)",
    "failed-stop": lambda r: "its stop failed there",
    "fatal-error": lambda r: "an error that would be the same everywhere: not configured as its agent needs it",
    "hard-error": lambda r: "an error that lasts: its agent cannot run it there",
    "health": lambda r: f"the node's health ({r.data['constraint']})",
    "location": lambda r: f"constraint {r.data['constraint']}",
    "masked-probe-failure": lambda r: "a probe found that it cannot run there (not installed, or wrong parameters)",
    "migration-threshold": lambda r: "it has failed there as often as migration-threshold allows (then: hamgr cleanup)",
    "not-managed": lambda r: "it is not managed and runs there",
    "on-fail-migrate": lambda r: "it failed there, and on-fail=migrate",
    "orphan": lambda r: "it is no longer configured",
    "promotion-preference": lambda r: "its promotion score there",
    "shutdown-lock": lambda r: "it waits for another node, which was shut down in good order (shutdown-lock)",
    "stickiness": lambda r: "stickiness: it runs there",
    "ticket": lambda r: "its ticket is not granted",
    "to-be-stopped": lambda r: "it is to be stopped",
    "utilization": lambda r: "the node has not the capacity for it (utilization)",
    "with-dependent": lambda r: f"{r.data['dependent']}, which goes with it, {_preference(r)}{_by(r)}",
    "with-primary": lambda r: f"{_company(r)}{_by(r)}",
}

_CONSEQUENCES = {
    "ignore": "on-fail=ignore: that is not taken as a failure",
    "demote": "on-fail=demote: it is demoted",
    "recover": "it is recovered",
    "restart-container": "its container is restarted",
    "reset-remote": "the remote node is fenced",
    "migrate": "on-fail=migrate: it leaves that node",
    "block": "it is blocked",
    "stop": "on-fail=stop: it is stopped and stays stopped",
    "standby": "on-fail=standby: the node goes into standby",
    "fence": "the node is fenced",
}

_DOING = {
    "running": "start",
    "stopped": "stop",
    "promoted": "promote",
    "demoted": "demote",
    "notified": "notify",
}
_DONE = {"start": "started", "stop": "stopped", "promote": "promoted", "demote": "demoted", "notify": "notified"}


def circumstance(reason: Reason) -> str:
    """What holds for a resource as a whole: a sentence."""
    return _CIRCUMSTANCES[reason.code](reason)


def step(reason: Reason) -> str:
    """What has changed its score for a node: a part of a sentence."""
    return _STEPS[reason.code](reason)


def _operation(data: Mapping[str, str | int]) -> str:
    interval = int(data.get("interval_ms", 0))
    return f"{data['operation']} (every {interval / 1000:g} s)" if interval else str(data["operation"])


def _consequence(on_fail: str) -> str:
    return _CONSEQUENCES.get(on_fail.lower().replace("_", "-"), f"on-fail={on_fail.lower()}")


def cause(reason: str) -> str:
    """Pacemaker's words for what makes an action necessary or impossible, as the end of a sentence."""
    words = reason.split()
    if reason == "node availability":
        return "it may run on no node"
    if reason == "quorum freeze":
        return "the cluster has no quorum (no-quorum-policy=freeze)"
    if reason == "no quorum":
        return "the cluster has no quorum"
    if reason == "required stonith":
        return "a node has to be fenced, or let in again, first"
    if reason == "resource definition change":
        return "its definition has changed since it was started"
    if reason.startswith("colocation with "):
        return f"it has to be where {words[-1]} is, which cannot run"
    if words[0] in ("required", "unrunnable") and len(words) == 3:
        done = _DONE.get(_DOING.get(words[2], words[2]))
        if done:
            return f"{words[1]}, on which it depends, {'has to' if words[0] == 'required' else 'cannot'} be {done}"
    if words[0] == "unrunnable" and words[-1].startswith("clone-one-or-more:"):
        return f"too few of those that it depends on can run (constraint {words[-1].partition(':')[2]})"
    return f"of {reason}"


def change(step: Reason) -> int:
    """What a step has added to a score."""
    score, before = int(step.data["score"]), int(step.data.get("before", 0))
    return score if abs(score) >= INFINITY else score - before


def _preference(step: Reason) -> str:
    return "would rather be there" if change(step) > 0 else "would rather not be there"


def _company(step: Reason) -> str:
    primary, where, wanted = step.data["primary"], step.data["where"], int(step.data["wanted"])
    if wanted >= INFINITY:
        return f"it has to be where {primary} is, which is {f'on {where}' if where else 'nowhere'}"
    if wanted <= -INFINITY:
        return f"it must not be where {primary} is"
    return f"it would rather be {'with' if wanted > 0 else 'apart from'} {primary}"


def _by(step: Reason) -> str:
    constraint = str(step.data["constraint"])
    if constraint.startswith("group:"):
        return ", a member of its group"
    return f" (constraint {constraint})"
