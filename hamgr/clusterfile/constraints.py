"""Constraints in a cluster file: location, colocation, order and tickets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hamgr.clusterfile.values import Id, NodeRef, ResourceRef, Role, RuleText, Score, Section, require_regex, wrong


class SetEntry(Section):
    """Several resources in one constraint."""

    resources: Annotated[tuple[ResourceRef, ...], Field(min_length=1)]
    id: Id | None = None
    sequential: bool = True
    require_all: bool = True
    role: Role | None = None
    action: Literal["start", "stop", "promote", "demote"] | None = None
    kind: Literal["Mandatory", "Optional", "Serialize"] | None = None
    ordering: Literal["group", "listed"] | None = None
    score: Score | None = None


Sets = tuple[SetEntry, ...]


class ScoredRule(Section):
    """A rule that gives nodes a score."""

    rule: RuleText
    id: Id | None = None
    score: Score | None = None
    score_attribute: str | None = None
    role: Role | None = None

    @model_validator(mode="after")
    def _one_score(self) -> ScoredRule:
        if (self.score is None) == (self.score_attribute is None):
            raise wrong("give the rule either a score or a score-attribute")
        return self


class LocationEntry(Section):
    """Where a resource prefers or refuses to run."""

    id: Id | None = None
    resource: ResourceRef | None = None
    pattern: str | None = None
    sets: Sets = ()
    node: NodeRef | None = None
    score: Score | None = None
    role: Role | None = None
    resource_discovery: Literal["always", "never", "exclusive"] | None = None
    rules: tuple[ScoredRule, ...] = ()
    lifetime: RuleText | None = None

    @model_validator(mode="after")
    def _complete(self) -> LocationEntry:
        if sum((self.resource is not None, self.pattern is not None, bool(self.sets))) != 1:
            raise wrong("name exactly one of resource, pattern (a regular expression on ids) and sets")
        require_regex(self.pattern)
        if (self.node is None) == (not self.rules):
            raise wrong("say where: a node with a score, or rules")
        if (self.node is None) != (self.score is None):
            raise wrong("a node needs a score (50, INFINITY, -INFINITY); with rules each rule has its own")
        return self


class ColocationEntry(Section):
    """Which resources belong on the same node, or must not share one."""

    id: Id | None = None
    resource: ResourceRef | None = None
    with_: ResourceRef | None = None
    sets: Sets = ()
    score: Score = "INFINITY"
    role: Role | None = None
    with_role: Role | None = None
    node_attribute: str | None = None
    influence: bool | None = None
    lifetime: RuleText | None = None

    @model_validator(mode="after")
    def _complete(self) -> ColocationEntry:
        _either_pair_or_sets(self.resource, self.with_, bool(self.sets), "resource and with")
        return self


def _either_pair_or_sets(one: str | None, other: str | None, sets: bool, names: str) -> None:
    pair = one is not None and other is not None
    half = (one is None) != (other is None)
    if half or pair == sets:
        raise wrong(f"give either {names}, or sets")


class OrderEntry(Section):
    """What comes first."""

    id: Id | None = None
    first: ResourceRef | None = None
    then: ResourceRef | None = None
    sets: Sets = ()
    first_action: Literal["start", "stop", "promote", "demote"] | None = None
    then_action: Literal["start", "stop", "promote", "demote"] | None = None
    kind: Literal["Mandatory", "Optional", "Serialize"] | None = None
    score: Score | None = None
    symmetrical: bool | None = None
    require_all: bool = True
    lifetime: RuleText | None = None

    @model_validator(mode="after")
    def _complete(self) -> OrderEntry:
        _either_pair_or_sets(self.first, self.then, bool(self.sets), "first and then")
        return self


class TicketEntry(Section):
    """What may run only while a ticket is granted here."""

    ticket: str
    id: Id | None = None
    resource: ResourceRef | None = None
    sets: Sets = ()
    role: Role | None = None
    loss_policy: Literal["stop", "demote", "fence", "freeze"] | None = None
    lifetime: RuleText | None = None

    @model_validator(mode="after")
    def _complete(self) -> TicketEntry:
        if (self.resource is None) == (not self.sets):
            raise wrong("give either resource, or sets")
        return self


class ConstraintEntry(Section):
    """One constraint, under the key that says of which kind."""

    location: LocationEntry | None = None
    colocation: ColocationEntry | None = None
    order: OrderEntry | None = None
    ticket: TicketEntry | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ConstraintEntry:
        if sum(entry is not None for entry in (self.location, self.colocation, self.order, self.ticket)) != 1:
            raise wrong(
                "each entry is one of location, colocation, order and ticket; start each with a dash of its own"
            )
        return self
