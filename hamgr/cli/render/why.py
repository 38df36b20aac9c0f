"""Why a resource goes where it goes, as an operator reads it at night: `hamgr simulate --why`.

Pure: accounts in, text out.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.scheduler.output import sentences
from hamgr.scheduler.output.explain import Account, Candidate
from hamgr.scheduler.transition import Reason, SummaryLine

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any


def render(accounts: Sequence[Account]) -> str:
    """An account for each part of what was asked about, a blank line between them."""
    return "\n\n".join("\n".join(_account(account)) for account in accounts) + "\n"


def plain(accounts: Sequence[Account]) -> list[dict[str, Any]]:
    """The same as plain values: what ``--why RESOURCE --output json`` prints."""
    return [
        {
            "resource": account.resource,
            "within": list(account.within),
            "role": account.role,
            "nodes": list(account.nodes),
            "next-role": account.next_role,
            "next-node": account.next_node,
            "changes": [
                {"action": line.action, "reason": line.reason, "blocked": line.blocked} for line in account.changes
            ],
            "circumstances": [_coded(reason, sentences.circumstance(reason)) for reason in account.circumstances],
            "candidates": [
                {
                    "node": each.node,
                    "score": scores.text(each.score),
                    "chosen": each.chosen,
                    "unfit": each.unfit,
                    "steps": [_coded(step, sentences.step(step)) for step in each.steps],
                }
                for each in account.candidates
            ],
            "promotion-score": None if account.promotion_score is None else scores.text(account.promotion_score),
            "text": _headline(account),
        }
        for account in accounts
    ]


def _coded(reason: Reason, text: str) -> dict[str, Any]:
    return {"code": reason.code, "node": reason.node, **reason.data, "text": text}


def _account(account: Account) -> Iterator[str]:
    yield _headline(account)
    for text in dict.fromkeys(sentences.circumstance(reason) for reason in account.circumstances):
        yield f"  * {text}"
    if account.candidates:
        yield "  Nodes:"
    for candidate in account.candidates:
        yield f"  * {candidate.node}: {_verdict(candidate, account)}"
        for step in candidate.steps:
            yield f"      {_amount(step):>9}  {sentences.step(step)}"


# --- the headline -----------------------------------------------------------------------------------------


def _headline(account: Account) -> str:
    name = f"{account.resource} (in {', in '.join(account.within)})" if account.within else account.resource
    now = f"{name} is {_whereabouts(account.role, account.nodes)}"
    if not account.changes:
        stays = "stays so" if account.nodes else "stays stopped"
        return f"{now} and {stays}."
    line = account.changes[0]
    will = _outcome(line, account)
    because = f", because {sentences.cause(line.reason)}" if line.reason else ""
    if line.blocked:
        return f"{now}. It should be {will}, but cannot be{because}."
    return f"{now}. It will be {will}{because}."


def _whereabouts(role: str, nodes: Sequence[str]) -> str:
    return f"{role} on {' and '.join(nodes)}" if nodes else "stopped"


def _outcome(line: SummaryLine, account: Account) -> str:
    there = account.next_node
    same = there in account.nodes
    promoted = " and promoted" if account.next_role == "Promoted" and line.action in ("start", "promote") else ""
    return {
        "start": f"started{promoted} on {there}",
        "stop": "stopped",
        "move": f"moved to {there}",
        "recover": f"recovered {'there' if same else f'on {there}'}",
        "restart": "restarted there",
        "migrate": f"migrated to {there} while it runs",
        "reload": "told its new parameters there",
        "promote": f"promoted {'there' if same else f'on {there}'}"
        if account.nodes
        else f"started and promoted on {there}",
        "demote": f"demoted {'there' if same else f'and moved to {there}'}",
        "re-promote": "demoted and promoted again there",
    }[line.action]


# --- node by node ---------------------------------------------------------------------------------------


def _amount(step: Reason) -> str:
    change = sentences.change(step)
    return f"+{scores.text(change)}" if change > 0 else scores.text(change)


def _verdict(candidate: Candidate, account: Account) -> str:
    score = f"score {scores.text(candidate.score)}"
    if candidate.chosen:
        promotion = account.promotion_score
        return f"{score}, chosen" + ("" if promotion is None else f"; promotion score {scores.text(promotion)}")
    if candidate.unfit:
        return f"{score}, but {sentences.UNFIT[candidate.unfit]}"
    if candidate.score < 0:
        return f"{score}: not allowed"
    best = next((other for other in account.candidates if other.chosen), None)
    if best is not None and best.score == candidate.score:
        return f"{score}, as good as {best.node}"
    return score
