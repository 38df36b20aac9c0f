"""Resources in a cluster file: primitives, groups, clones and bundles, checked against their agents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hamgr.clusterfile.agents import AgentSpec
from hamgr.clusterfile.options import (
    BOOL,
    CLONE_META,
    DURATION,
    GROUP_META,
    INT,
    OPERATION_META,
    PRIMITIVE_META,
    Kind,
    instead,
    listing,
)
from hamgr.clusterfile.values import (
    DNS_LABEL,
    Complaint,
    Duration,
    Id,
    Role,
    Section,
    Value,
    ValueSet,
    ValueSets,
    checked_names,
    known_things,
    raise_all,
    value_problem,
    wrong,
)

PrimitiveMeta = Annotated[ValueSets, AfterValidator(checked_names(PRIMITIVE_META, "meta-attribute"))]
GroupMeta = Annotated[ValueSets, AfterValidator(checked_names(GROUP_META, "meta-attribute"))]
CloneMeta = Annotated[ValueSets, AfterValidator(checked_names(CLONE_META, "meta-attribute"))]
_QUALIFIED_AGENT = re.compile(r"(ocf:[^:]+:[^:]+|(?!ocf:)[a-z]+:[^:]+)\Z")

OperationDefaults = Annotated[ValueSets, AfterValidator(checked_names(OPERATION_META, "property of operations"))]


class Operation(Section):
    """One operation of a primitive; its name is the key that it stands under."""

    id: Id | None = None
    interval: Duration | None = None
    timeout: Duration | None = None
    on_fail: str | None = None
    role: Role | None = None
    enabled: bool | None = None
    start_delay: Duration | None = None
    interval_origin: str | None = None
    record_pending: bool | None = None
    params: ValueSets = ()
    meta: OperationDefaults = ()

    @model_validator(mode="after")
    def _on_fail_exists(self) -> Operation:
        message = "" if self.on_fail is None else value_problem(OPERATION_META, "property", "on-fail", self.on_fail)
        raise_all("Operation", [(("on-fail",), message)] if message else [])
        return self


def _several(value: Any) -> Any:
    """``monitor: {...}`` is short for ``monitor: [{...}]``; ``start:`` with nothing behind it takes the defaults."""
    if value is None:
        return [{}]
    return [value] if isinstance(value, dict) else value


Operations = dict[Id, Annotated[tuple[Operation, ...], BeforeValidator(_several)]]


class PrimitiveEntry(Section):
    """A resource that one agent runs."""

    id: Id
    agent: str
    description: str | None = None
    params: ValueSets = Field(default=(), validate_default=True)
    meta: PrimitiveMeta = ()
    operations: Operations = Field(default_factory=dict)
    utilization: ValueSets = ()

    @field_validator("agent")
    @classmethod
    def _agent_exists(cls, agent: str, info: ValidationInfo) -> str:
        if ":" in agent:
            if not _QUALIFIED_AGENT.match(agent):
                raise wrong(f"'{agent}': write NAME, ocf:PROVIDER:NAME or stonith:NAME")
            return agent
        agents = known_things(info).agents
        if agents is not None and agent not in agents:
            raise wrong(f"there is no agent '{agent}'{instead(agent, agents)}")
        return agent

    @field_validator("params")
    @classmethod
    def _params_fit_agent(cls, params: tuple[ValueSet, ...], info: ValidationInfo) -> tuple[ValueSet, ...]:
        agents = known_things(info).agents or {}
        if info.data.get("agent") in agents:
            raise_all("params", _agent_problems(params, agents[info.data["agent"]]))
        return params

    @model_validator(mode="after")
    def _names_a_pod(self) -> PrimitiveEntry:
        if ":" not in self.agent and not DNS_LABEL.match(self.id):
            message = f"'{self.id}' becomes part of a pod's name: use lower-case letters, digits and '-'"
            raise_all("PrimitiveEntry", [(("id",), message)])
        return self


def _agent_problems(params: tuple[ValueSet, ...], agent: AgentSpec) -> list[Complaint]:
    problems: list[Complaint] = []
    given: set[str] = set()
    for index, entry in enumerate(params):
        given |= entry.values.keys()
        for name, value in entry.values.items():
            message = _parameter_problem(agent, name, value)
            if message:
                problems.append(((index, "values", name), message))
    missing = [name for name, spec in agent.parameters.items() if spec.required and name not in given]
    if missing:
        problems.append(((), f"the agent '{agent.name}' needs {listing(missing)}"))
    return problems + [
        ((), f"the agent '{agent.name}' needs exactly one of {listing(names)}")
        for names in agent.exactly_one_of
        if len(given.intersection(names)) != 1
    ]


_PARAMETER_KINDS: Mapping[str, Kind] = {"integer": INT, "boolean": BOOL, "duration": DURATION}


def _parameter_problem(agent: AgentSpec, name: str, value: str) -> str:
    if name not in agent.parameters:
        names = agent.parameters
        return f"the agent '{agent.name}' has no such parameter{instead(name, names)}"
    spec = agent.parameters[name]
    kind = Kind(choices=spec.choices) if spec.choices else _PARAMETER_KINDS.get(spec.type)
    try:
        if kind is not None:
            kind.check(value)
    except ValueError as error:
        return str(error)
    if spec.type == "object" and not value.startswith(("{", "[")):
        return "a mapping belongs here, not text"
    return ""


class GroupEntry(Section):
    """Primitives that run together on one node and start in order."""

    group: Id
    members: Annotated[tuple[PrimitiveEntry, ...], Field(min_length=1)]
    description: str | None = None
    params: ValueSets = ()
    meta: GroupMeta = ()


def _resource_kind(value: Any) -> str | None:
    """The tag of an entry, by the key that only its kind has; None for what is no mapping."""
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Section) else None
    if keys is None:
        return None
    return next((f"<{kind}>" for kind in ("group", "clone", "bundle") if kind in keys), "<primitive>")


class CloneEntry(Section):
    """A primitive or group that runs on several nodes."""

    clone: Id
    of: Annotated[
        Annotated[PrimitiveEntry, Tag("<primitive>")] | Annotated[GroupEntry, Tag("<group>")],
        Discriminator(
            _resource_kind, custom_error_type="hamgr", custom_error_message="a primitive or a group belongs here"
        ),
    ]
    promotable: bool | None = None
    description: str | None = None
    params: ValueSets = ()
    meta: CloneMeta = ()


class BundlePort(Section):
    """A port of a bundle's replicas that is reachable from outside."""

    id: Id | None = None
    port: str = ""
    internal_port: str = ""
    range: str = ""


class BundleStorage(Section):
    """A directory of the host that is mounted into a bundle's replicas."""

    id: Id | None = None
    source_dir: str = ""
    source_dir_root: str = ""
    target_dir: str
    options: str = ""


class BundleEntry(Section):
    """Containers with an address each, that run replicas of at most one primitive."""

    bundle: Id
    technology: Literal["docker", "podman", "rkt"] = "docker"
    container: dict[str, Value] = Field(default_factory=dict)
    network: dict[str, Value] = Field(default_factory=dict)
    ports: tuple[BundlePort, ...] = ()
    storage: tuple[BundleStorage, ...] = ()
    primitive: PrimitiveEntry | None = None
    description: str | None = None
    meta: CloneMeta = ()


ResourceEntry = Annotated[
    Annotated[PrimitiveEntry, Tag("<primitive>")]
    | Annotated[GroupEntry, Tag("<group>")]
    | Annotated[CloneEntry, Tag("<clone>")]
    | Annotated[BundleEntry, Tag("<bundle>")],
    Discriminator(
        _resource_kind,
        custom_error_type="hamgr",
        custom_error_message="a mapping belongs here: a primitive (id, agent), a group, a clone or a bundle",
    ),
]
