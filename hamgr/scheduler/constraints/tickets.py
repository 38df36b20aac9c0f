"""Tickets of multi-site clusters: a resource may hold its role only while its ticket is granted here.

Implements "Multi-Site Clusters and Tickets" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler.actions import fencing
from hamgr.scheduler.placement import node_scores
from hamgr.scheduler.state.constants import PROMOTED, ROLES_BY_NAME, STARTED, UNKNOWN
from hamgr.scheduler.state.entities import Resource, TicketDependency
from hamgr.scheduler.state.working_set import WorkingSet


def unpack_constraint(
    work: WorkingSet, constraint: model.TicketConstraint, sets: tuple[model.ResourceSet, ...]
) -> None:
    """Attach a ticket to its resources, and act at once where the ticket is lost."""
    ticket = work.tickets.get(constraint.ticket) or model.Ticket(constraint.ticket)
    work.tickets[ticket.id] = ticket
    targets = [(name, s.role) for s in sets for name in s.members] if sets else [(constraint.rsc, constraint.rsc_role)]
    for name, role in targets:
        rsc = work.constrained(name)
        if rsc is None:
            work.warn(f'Ticket constraint "{constraint.id}" ends at "{name}": there is no such resource.')
            return
        _attach(work, rsc, constraint, ticket, ROLES_BY_NAME.get(role, UNKNOWN))


def _attach(
    work: WorkingSet, rsc: Resource, constraint: model.TicketConstraint, ticket: model.Ticket, role: int
) -> None:
    if role == STARTED:
        role = UNKNOWN
    policy = constraint.loss_policy.lower()
    if policy == "fence" and not work.options.fencing:
        policy = "stop"
    if policy not in ("fence", "freeze", "demote", "stop"):
        policy = "demote" if role == PROMOTED else "stop"
    runtime = TicketDependency(constraint.id, ticket, role, policy)
    rsc.placing.tickets.append(runtime)
    forbid(work, rsc, runtime)


def forbid(work: WorkingSet, rsc: Resource, constraint: TicketDependency) -> None:
    """Enforce a ticket that is lost, was never granted or is in standby."""
    ticket = constraint.ticket
    if ticket.granted and not ticket.standby:
        return
    if rsc.children:
        for child in rsc.children:
            forbid(work, child, constraint)
    elif not ticket.granted and rsc.running_on:
        _lost(work, rsc, constraint)
    elif constraint.role != PROMOTED or constraint.loss_policy == "stop":
        _ban(work, rsc, constraint)


def _ban(work: WorkingSet, rsc: Resource, constraint: TicketDependency) -> None:
    node_scores.ban_everywhere(work, rsc, "ticket")
    work.because("ticket", rsc, ticket=constraint.ticket.id, policy=constraint.loss_policy)


def _lost(work: WorkingSet, rsc: Resource, constraint: TicketDependency) -> None:
    policy = constraint.loss_policy
    concerned = constraint.role in (UNKNOWN, rsc.role)
    if policy == "stop" or (policy == "demote" and constraint.role != PROMOTED):
        _ban(work, rsc, constraint)
    elif policy == "fence" and concerned:
        _ban(work, rsc, constraint)
        for node in rsc.running_on:
            fencing.fence_node(work, node, "deadman ticket was lost", priority_delay=False)
    elif policy == "freeze" and concerned:
        rsc.managed = False
        rsc.blocked = True


def keep_from_promotion(work: WorkingSet, clone: Resource) -> None:
    """Without its ticket for the promoted role, no instance of a clone is promoted."""
    for constraint in clone.placing.tickets:
        ticket = constraint.ticket
        if constraint.role == PROMOTED and (not ticket.granted or ticket.standby):
            _ban(work, clone, constraint)
