"""The `dummy` agent: does nothing but remember that it does it, and fails on demand. For tests and for trying out.

What ocf:pacemaker:Dummy and ocf:pacemaker:Stateful are there. The state is a file a (resource, node) when ``state``
names a directory, else it lives in this process.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

from hamgr.executor.agent import ActionContext, ActionResult, ActionTimeout, Agent
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import Ocf

_STOPPED, _STARTED, _PROMOTED = "", "started", "promoted"
_SLICE_S = 0.05


class DummyAgent(Agent):
    """See the module."""

    metadata: ClassVar[Metadata] = Metadata(
        name="dummy",
        version="1.0",
        shortdesc="Pretends to run something",
        longdesc="Keeps a state and nothing else. It can be told to be slow and to fail.",
        parameters=(
            Parameter("state", "Directory that keeps the state in files. Default: in memory.", unique=True),
            Parameter("fake", "Changed to see what a change of parameters causes", default="dummy"),
            Parameter("op_sleep", "How long each action takes", type="duration", default="0", reloadable=True),
            Parameter("fail_on", "Actions that fail, separated by spaces, such as start or monitor", reloadable=True),
            Parameter("fail_nodes", "Nodes on which they fail. Default: all.", reloadable=True),
            Parameter("promotion_score", "Promotion score to report while it is up", type="integer", reloadable=True),
            Parameter("fail_rc", "Exit code of a failing action", type="integer", default="1", reloadable=True),
        ),
        actions=(
            Action("start", timeout_s=20),
            Action("stop", timeout_s=20),
            Action("monitor", timeout_s=20, interval_s=10),
            Action("monitor", timeout_s=20, interval_s=11, role="Promoted"),
            Action("promote", timeout_s=20),
            Action("demote", timeout_s=20),
            Action("migrate_to", timeout_s=20),
            Action("migrate_from", timeout_s=20),
            Action("reload-agent", timeout_s=20),
            Action("notify", timeout_s=20),
            Action("validate-all", timeout_s=20),
            Action("meta-data", timeout_s=5),
        ),
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], str] = {}

    def start(self, ctx: ActionContext) -> ActionResult:
        """Up, unpromoted unless it is promoted already."""
        if (failure := self._act(ctx, "start")) is not None:
            return failure
        if self._state(ctx) == _STOPPED:
            self._become(ctx, _STARTED)
        return ActionResult(Ocf.OK, attributes=_scores(ctx))

    def stop(self, ctx: ActionContext) -> ActionResult:
        """Down."""
        if (failure := self._act(ctx, "stop")) is not None:
            return failure
        self._become(ctx, _STOPPED)
        return ActionResult(Ocf.OK)

    def monitor(self, ctx: ActionContext) -> ActionResult:
        """What was remembered."""
        if (failure := self._act(ctx, "monitor")) is not None:
            return failure
        state = self._state(ctx)
        if state == _STOPPED:
            return ActionResult(Ocf.NOT_RUNNING, f"{ctx.instance or ctx.resource} is not started on {ctx.node}")
        return ActionResult(Ocf.RUNNING_PROMOTED if state == _PROMOTED else Ocf.OK, attributes=_scores(ctx))

    def promote(self, ctx: ActionContext) -> ActionResult:
        """Promoted, if it is up."""
        if (failure := self._act(ctx, "promote")) is not None:
            return failure
        if self._state(ctx) == _STOPPED:
            return ActionResult(Ocf.NOT_RUNNING, f"{ctx.instance or ctx.resource} is not started on {ctx.node}")
        self._become(ctx, _PROMOTED)
        return ActionResult(Ocf.OK)

    def demote(self, ctx: ActionContext) -> ActionResult:
        """Unpromoted, if it is up."""
        if (failure := self._act(ctx, "demote")) is not None:
            return failure
        if self._state(ctx) == _STOPPED:
            return ActionResult(Ocf.NOT_RUNNING, f"{ctx.instance or ctx.resource} is not started on {ctx.node}")
        self._become(ctx, _STARTED)
        return ActionResult(Ocf.OK)

    def migrate_to(self, ctx: ActionContext) -> ActionResult:
        """The source's half: it stops here."""
        return self.stop(ctx)

    def migrate_from(self, ctx: ActionContext) -> ActionResult:
        """The target's half: it starts here."""
        return self.start(ctx)

    def reload_agent(self, ctx: ActionContext) -> ActionResult:
        """Reloadable parameters are read in each action anyway."""
        return self._act(ctx, "reload-agent") or ActionResult(Ocf.OK)

    def notify(self, ctx: ActionContext) -> ActionResult:
        """Nothing to do."""
        return self._act(ctx, "notify") or ActionResult(Ocf.OK)

    def _act(self, ctx: ActionContext, action: str) -> ActionResult | None:
        """Take the time it takes; the failure that was asked for, if any. Raises ActionTimeout."""
        done_at = ctx.clock() + ctx.seconds("op_sleep")
        pause = threading.Event()
        while ctx.clock() < done_at:
            if ctx.over():
                raise ActionTimeout(f"{action} of {ctx.instance or ctx.resource} takes longer than it may")
            pause.wait(_SLICE_S)
        nodes = ctx.text("fail_nodes").split()
        if action in ctx.text("fail_on").split() and (not nodes or ctx.node in nodes):
            return ActionResult(Ocf(ctx.number("fail_rc") or 1), f"told to fail in {action} (fail_on)")
        return None

    def _state(self, ctx: ActionContext) -> str:
        file = self._file(ctx)
        if file is not None:
            return file.read_text().strip() if file.exists() else _STOPPED
        with self._lock:
            return self._states.get((ctx.instance or ctx.resource, ctx.node), _STOPPED)

    def _become(self, ctx: ActionContext, state: str) -> None:
        file = self._file(ctx)
        if file is None:
            with self._lock:
                self._states[(ctx.instance or ctx.resource, ctx.node)] = state
        elif state == _STOPPED:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(state + "\n")

    def _file(self, ctx: ActionContext) -> Path | None:
        """``DIR/INSTANCE@NODE``; None: in memory."""
        if not ctx.text("state"):
            return None
        return Path(ctx.text("state")) / f"{(ctx.instance or ctx.resource).replace(':', '_')}@{ctx.node}"


def _scores(ctx: ActionContext) -> dict[str, str]:
    """The promotion score as the node attribute that the scheduler reads."""
    score = ctx.text("promotion_score")
    return {f"master-{ctx.resource}": score} if score else {}
