"""The values that a cluster file may hold and how each is checked; every section's keys are closed.

Every scalar arrives as the text that was written (`hamgr.clusterfile.source`), so a value is checked against the option
that it is for and kept as written, as Pacemaker's own configuration does. References are checked while validating, too:
the context (`Known`) says which ids, nodes and agents there are, so that one pass finds everything that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from hamgr.clusterfile.agents import AgentSpec
from hamgr.clusterfile.options import DURATION, SCORE, Kind, instead
from hamgr.clusterfile.rules import parse_rule
from hamgr.clusterfile.source import typed

Role = Literal["Started", "Stopped", "Unpromoted", "Promoted"]
Complaint = tuple[tuple[str | int, ...], str]  # (where below this value, what is wrong)

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
DNS_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?\Z")
_ID = re.compile(r"[A-Za-z_][\w.-]*\Z")


@dataclass(frozen=True)
class Known:
    """What a file defines, collected before it is validated; None for agents means that they are not checked."""

    resources: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    agents: Mapping[str, AgentSpec] | None = field(default=None)


def wrong(message: str) -> PydanticCustomError:
    """A complaint in our own words; braces in it are not fields to fill in."""
    return PydanticCustomError("hamgr", "{message}", {"message": message})


def known_things(info: ValidationInfo) -> Known:
    return info.context if isinstance(info.context, Known) else Known()


class Section(BaseModel):
    """A mapping with a fixed set of keys; an unknown key is reported with the keys that there are."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _name_allowed_keys(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        keys = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(value, dict):  # "key:" with nothing behind it is the same as no key
            value = {key: entry for key, entry in value.items() if entry is not None or key not in keys}
        try:
            return handler(value)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [_detail(e, keys) for e in error.errors()]
            ) from None


def _detail(error: Any, keys: list[str]) -> InitErrorDetails:
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden" and len(loc) == 1:
        message = f"there is no such key{instead(str(loc[0]), keys)}"
        return {
            "type": PydanticCustomError("unknown_key", "{message}", {"message": message}),
            "loc": loc,
            "input": None,
        }
    context = {**error.get("ctx", {}), "message": error["msg"]}
    return {"type": PydanticCustomError(kind, "{message}", context), "loc": loc, "input": error["input"]}


def raise_all(title: str, problems: list[Complaint]) -> None:
    """Raise every (where, message) at once, when there are any."""
    if problems:
        details: list[InitErrorDetails] = [
            {"type": wrong(text), "loc": where, "input": None} for where, text in problems
        ]
        raise ValidationError.from_exception_data(title, details)


def _of(kind: Kind) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, str):
            try:
                kind.check(value)
            except ValueError as error:
                raise wrong(str(error)) from None
        return value

    return check


Score = Annotated[str, AfterValidator(_of(SCORE))]
Duration = Annotated[str, AfterValidator(_of(DURATION))]


def _id(value: str) -> str:
    if not _ID.match(value):
        raise wrong(f"'{value}' is not an id: start with a letter or _, go on with letters, digits, '.', '-' and '_'")
    return value


def _dns_label(value: str) -> str:
    if not DNS_LABEL.match(value):
        raise wrong(f"'{value}' must be lower-case letters, digits and '-', at most 63 of them")
    return value


def _reference(what: str, choose: Callable[[Known], frozenset[str]]) -> Callable[[str, ValidationInfo], str]:
    def check(value: str, info: ValidationInfo) -> str:
        there = choose(known_things(info))
        if value not in there:
            raise wrong(f"there is no {what} '{value}' in this file{instead(value, there)}")
        return value

    return check


def _dns_name(value: str) -> str:
    if not DNS_NAME.match(value):
        raise wrong(f"'{value}' is no name of a Kubernetes node: lower-case letters, digits, '-' and '.'")
    return value


Id = Annotated[str, AfterValidator(_id)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
DnsLabel = Annotated[str, AfterValidator(_dns_label)]
ResourceRef = Annotated[str, AfterValidator(_reference("resource or tag", lambda known: known.resources | known.tags))]
NodeRef = Annotated[str, AfterValidator(_reference("node", lambda known: known.nodes))]


def _rule_text(value: str) -> str:
    try:
        parse_rule(value)
    except ValueError as error:
        raise wrong(f"this rule cannot be read: {error}") from None
    return value


RuleText = Annotated[str, AfterValidator(_rule_text)]


def _value_text(value: Any) -> str:
    """A parameter's value as Pacemaker's configuration keeps it; mappings and lists become JSON."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(typed(value), separators=(",", ":"), sort_keys=True)
    return str(value)


Value = Annotated[str, BeforeValidator(_value_text)]


class ValueSet(Section):
    """Values that hold while a rule does."""

    id: Id | None = None
    score: Score = "0"
    rule: RuleText | None = None
    values: dict[str, Value] = Field(default_factory=dict)


def _as_sets(value: Any) -> Any:
    return [{"values": value}] if isinstance(value, dict) else value


ValueSets = Annotated[tuple[ValueSet, ...], BeforeValidator(_as_sets)]


def checked_names(table: Mapping[str, Kind], what: str) -> Callable[[Any], Any]:
    def check(sets: tuple[ValueSet, ...]) -> tuple[ValueSet, ...]:
        problems: list[Complaint] = []
        for index, entry in enumerate(sets):
            for name, value in entry.values.items():
                message = value_problem(table, what, name, value)
                if message:
                    problems.append(((index, "values", name), message))
        raise_all(what, problems)
        return sets

    return check


def value_problem(table: Mapping[str, Kind], what: str, name: str, value: str) -> str:
    if name not in table:
        return f"there is no {what} of that name{instead(name, table)}"
    try:
        table[name].check(value)
    except ValueError as error:
        return str(error)
    return ""


def require_regex(pattern: str | None) -> None:
    try:
        re.compile((pattern or "").removeprefix("!"))
    except re.error as error:
        raise wrong(f"'{pattern}' is no regular expression: {error}") from None
