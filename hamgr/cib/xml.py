"""Reads a Pacemaker CIB (schema pacemaker-3.x) into the model.

Lenient where Pacemaker is lenient (unknown elements and attributes are skipped, numbers that are none count as 0),
strict where a guess could be wrong about what runs where: duplicate or missing ids and resources without an agent are
errors that name the element. Templates and ``id-ref`` references are resolved here: nothing after this knows of them.
"""

from __future__ import annotations

from os import PathLike

from hamgr.cib import durations, elements, scores
from hamgr.cib.elements import Element
from hamgr.cib.model import (
    Agent,
    Alert,
    Bundle,
    Cib,
    Clone,
    Colocation,
    Constraint,
    DateExpression,
    Expression,
    FencingLevel,
    Group,
    Location,
    Node,
    NodeState,
    NvSet,
    Op,
    OpExpression,
    OpRecord,
    Order,
    PortMapping,
    Primitive,
    Resource,
    ResourceExpression,
    ResourceHistory,
    ResourceSet,
    Rule,
    StorageMapping,
    Ticket,
    TicketConstraint,
)

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A CIB of 2,000 resources on 100 nodes is about 60 MB; Pacemaker's own IPC could not carry that.
MAX_BYTES = 128 * 1024 * 1024
MAX_RULE_DEPTH = 32

_TRUE = frozenset(("true", "on", "yes", "y", "1"))
_OP_OWN = frozenset(("id", "name", "interval"))


class CibError(ValueError):
    """The document cannot be used as a CIB; the message says where and why."""


def is_true(text: str | None) -> bool:
    """Pacemaker's reading of a boolean: true, on, yes, y and 1, in any case."""
    return text is not None and text.lower() in _TRUE


def load_xml(source: str | bytes | PathLike[str]) -> Cib:
    """Read a CIB from text, bytes or a file's path.

    A ``str`` is taken as XML when it starts with ``<``, else as a path. Raises `CibError` when the document is not
    well-formed XML or is no usable CIB, `OSError` when a file cannot be read.
    """
    data = _bytes_of(source)
    if len(data) > MAX_BYTES:
        raise CibError(f"The CIB is {len(data) >> 20} MiB long; the limit is {MAX_BYTES >> 20} MiB.")
    if b"\0" in data:
        raise CibError("The CIB is not UTF-8 text: it has NUL bytes.")
    try:
        root = elements.parse(data)
    except elements.DocumentError as error:
        raise CibError(f"The CIB {error}.") from None
    if root.tag != "cib":
        raise CibError(f"The document's root element is <{root.tag}>, but a CIB's is <cib>.")
    if b"id-ref" in data:
        _resolve_references(root)
    return _Reader(root).cib()


def _bytes_of(source: str | bytes | PathLike[str]) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and source.lstrip()[:1] == "<":
        return source.encode()
    with open(source, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _resolve_references(root: Element) -> None:
    """Replace elements with ``id-ref`` by what they refer to (a reference's own ``name`` wins)."""
    by_id = {(e.tag, e.get("id")): e for e in root.iter() if e.get("id")}
    for parent in list(root.iter()):
        for index, child in enumerate(parent):
            reference = child.get("id-ref")
            if reference is None:
                continue
            target = by_id.get((child.tag, reference))
            if target is None:
                raise CibError(f'<{child.tag} id-ref="{reference}"> refers to no <{child.tag}> in this CIB.')
            if child.tag == "nvpair":
                child.attrib["value"] = target.get("value", "")
                child.attrib["name"] = child.get("name") or target.get("name", "")
            else:
                parent.children[index] = target


def _children(parent: Element | None, tag: str) -> Iterator[Element]:
    return iter(()) if parent is None else parent.iterfind(tag)


def _int(text: str | None, default: int = 0) -> int:
    return default if text is None else scores.leading_int(text)


def _required(element: Element, name: str) -> str:
    value = element.get(name)
    if not value:
        label = f' id="{element.get("id")}"' if element.get("id") else ""
        raise CibError(f"Line {element.line}: <{element.tag}{label}> has no {name}.")
    return value


# --- name-value sets and rules -----------------------------------------------------------------------


def _rule(element: Element, depth: int = 0) -> Rule:
    if depth > MAX_RULE_DEPTH:
        raise CibError(f'<rule id="{element.get("id", "")}"> is nested more than {MAX_RULE_DEPTH} deep.')
    parts: list[Expression | DateExpression | ResourceExpression | OpExpression | Rule] = []
    for child in element:
        tag = child.tag
        if tag == "rule":
            parts.append(_rule(child, depth + 1))
        elif tag == "expression":
            parts.append(
                Expression(
                    attribute=child.get("attribute", ""),
                    operation=child.get("operation", ""),
                    value=child.get("value", ""),
                    type=child.get("type", ""),
                    value_source=child.get("value-source", ""),
                )
            )
        elif tag == "date_expression":
            parts.append(_date_expression(child))
        elif tag == "rsc_expression":
            parts.append(ResourceExpression(child.get("class", ""), child.get("provider", ""), child.get("type", "")))
        elif tag == "op_expression":
            interval = child.get("interval")
            parts.append(
                OpExpression(child.get("name", ""), None if interval is None else durations.parse_ms(interval))
            )
    return Rule(
        id=element.get("id", ""),
        expressions=tuple(parts),
        boolean_op=element.get("boolean-op", "and"),
        score=scores.parse(element.get("score")),
        score_attribute=element.get("score-attribute", ""),
        role=_role(element.get("role")),
    )


def _date_expression(element: Element) -> DateExpression:
    def table(tag: str) -> dict[str, str]:
        found = element.find(tag)
        return {} if found is None else {k: v for k, v in found.attrib.items() if k != "id"}

    return DateExpression(
        operation=element.get("operation", "in_range"),
        start=element.get("start", ""),
        end=element.get("end", ""),
        duration=table("duration"),
        date_spec=table("date_spec"),
    )


def _nvset(element: Element) -> NvSet:
    rule = element.find("rule")
    return NvSet(
        pairs=tuple((pair.get("name", ""), pair.get("value", "")) for pair in element.iterfind("nvpair")),
        id=element.get("id", ""),
        score=scores.parse(element.get("score")),
        rule=None if rule is None else _rule(rule),
    )


def _nvsets(parent: Element | None, tag: str) -> tuple[NvSet, ...]:
    return tuple(_nvset(e) for e in _children(parent, tag))


_LEGACY_ROLES = {"Master": "Promoted", "Slave": "Unpromoted"}


def _role(text: str | None) -> str:
    """A role by its present name, whatever its case (Master and Slave are the names of old)."""
    if not text:
        return ""
    name = text.capitalize()
    return _LEGACY_ROLES.get(name, name)


# --- resources ------------------------------------------------------------------------------------


class _Reader:
    """Holds what resolving needs while one document is read."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self.configuration = root.find("configuration")
        self.resource_ids: set[str] = set()
        self.templates: dict[str, Element] = {}
        self.instances: dict[str, list[str]] = {}
        self.agents: dict[tuple[str, str, str], Agent] = {}

    def section(self, name: str) -> Element | None:
        return None if self.configuration is None else self.configuration.find(name)

    def cib(self) -> Cib:
        root = self.root
        resources = self.section("resources")
        for template in _children(resources, "template"):
            self.templates[_required(template, "id")] = template
            self.instances[_required(template, "id")] = []
        execution_date = root.get("execution-date")
        return Cib(
            nodes=tuple(map(_node, _children(self.section("nodes"), "node"))),
            resources=tuple(r for e in (() if resources is None else resources) if (r := self.resource(e)) is not None),
            constraints=_constraints(self.section("constraints")),
            options=_nvsets(self.section("crm_config"), "cluster_property_set"),
            rsc_defaults=_nvsets(self.section("rsc_defaults"), "meta_attributes"),
            op_defaults=_nvsets(self.section("op_defaults"), "meta_attributes"),
            tags={
                tag.get("id", ""): tuple(ref.get("id", "") for ref in tag.iterfind("obj_ref"))
                for tag in _children(self.section("tags"), "tag")
            },
            templates={name: tuple(made) for name, made in self.instances.items()},
            fencing_levels=tuple(map(_fencing_level, _children(self.section("fencing-topology"), "fencing-level"))),
            alerts=tuple(map(_alert, _children(self.section("alerts"), "alert"))),
            node_states=tuple(map(self.node_state, root.iterfind("status/node_state"))),
            tickets=tuple(map(_ticket, root.iterfind("status/tickets/ticket_state"))),
            have_quorum=is_true(root.get("have-quorum")),
            dc_uuid=root.get("dc-uuid", ""),
            no_quorum_panic=is_true(root.get("no-quorum-panic")),
            crm_feature_set=root.get("crm_feature_set", ""),
            execution_date=None if execution_date is None else scores.leading_int(execution_date),
        )

    def resource(self, element: Element) -> Resource | None:
        tag = element.tag
        if tag == "primitive":
            return self.primitive(element)
        if tag == "group":
            return self.group(element)
        if tag in ("clone", "master"):
            return self.clone(element)
        if tag == "bundle":
            return self.bundle(element)
        return None

    def agent(self, standard: str, kind: str, provider: str) -> Agent:
        """An agent: one object for all that name the same, which are thousands of histories."""
        key = (standard, kind, provider)
        if key not in self.agents:
            self.agents[key] = Agent(*key)
        return self.agents[key]

    def claim_id(self, element: Element) -> str:
        name = _required(element, "id")
        if name in self.resource_ids:
            raise CibError(f'Line {element.line}: <{element.tag} id="{name}">: another resource has this id already.')
        self.resource_ids.add(name)
        return name

    def primitive(self, element: Element) -> Primitive:
        name = self.claim_id(element)
        sources = [element]
        template = element.get("template", "")
        if template:
            if template not in self.templates:
                raise CibError(f'<primitive id="{name}"> is made from template "{template}", which does not exist.')
            self.instances[template].append(name)
            sources = [self.templates[template], element]
        kind = sources[0]
        return Primitive(
            id=name,
            agent=self.agent(_required(kind, "class"), _required(kind, "type"), kind.get("provider", "")),
            ops=_ops(sources),
            params=tuple(s for source in sources for s in _nvsets(source, "instance_attributes")),
            meta=tuple(s for source in sources for s in _nvsets(source, "meta_attributes")),
            utilization=tuple(s for source in sources for s in _nvsets(source, "utilization")),
            template=template,
        )

    def group(self, element: Element) -> Group:
        return Group(
            id=self.claim_id(element),
            members=tuple(self.primitive(e) for e in element.iterfind("primitive")),
            params=_nvsets(element, "instance_attributes"),
            meta=_nvsets(element, "meta_attributes"),
        )

    def clone(self, element: Element) -> Clone:
        name = self.claim_id(element)
        for child in element:
            if child.tag in ("primitive", "group"):
                member = self.primitive(child) if child.tag == "primitive" else self.group(child)
                return Clone(
                    id=name,
                    member=member,
                    params=_nvsets(element, "instance_attributes"),
                    meta=_nvsets(element, "meta_attributes"),
                    master=element.tag == "master",
                )
        raise CibError(f'<{element.tag} id="{name}"> has no resource to clone.')

    def bundle(self, element: Element) -> Bundle:
        name = self.claim_id(element)
        kinds = (element.find(technology) for technology in ("docker", "rkt", "podman"))
        container = next((kind for kind in kinds if kind is not None), None)
        network = element.find("network")
        inner = element.find("primitive")
        return Bundle(
            id=name,
            technology="" if container is None else container.tag,
            container={} if container is None else dict(container.attrib),
            network={} if network is None else dict(network.attrib),
            ports=tuple(
                PortMapping(p.get("id", ""), p.get("port", ""), p.get("internal-port", ""), p.get("range", ""))
                for p in _children(network, "port-mapping")
            ),
            storage=tuple(
                StorageMapping(
                    id=s.get("id", ""),
                    source_dir=s.get("source-dir", ""),
                    source_dir_root=s.get("source-dir-root", ""),
                    target_dir=s.get("target-dir", ""),
                    options=s.get("options", ""),
                )
                for s in _children(element.find("storage"), "storage-mapping")
            ),
            primitive=None if inner is None else self.primitive(inner),
            meta=_nvsets(element, "meta_attributes"),
        )

    def node_state(self, element: Element) -> NodeState:
        in_ccm = element.get("in_ccm")
        attributes: dict[str, str] = {}
        for nvset in _nvsets(element.find("transient_attributes"), "instance_attributes"):
            attributes.update(nvset.pairs)
        return NodeState(
            name=element.get("uname", ""),
            id=element.get("id", ""),
            in_ccm=None if in_ccm is None else is_true(in_ccm),
            crmd=element.get("crmd", "offline") == "online",
            join=element.get("join", ""),
            expected=element.get("expected", ""),
            shutdown=element.get("shutdown", ""),
            remote_node=is_true(element.get("remote_node")),
            node_fenced=element.get("node_fenced", ""),
            node_in_maintenance=element.get("node_in_maintenance", ""),
            attributes=attributes,
            resources=tuple(map(self.history, element.iterfind("lrm/lrm_resources/lrm_resource"))),
        )

    def history(self, element: Element) -> ResourceHistory:
        return ResourceHistory(
            id=_required(element, "id"),
            agent=self.agent(element.get("class", ""), element.get("type", ""), element.get("provider", "")),
            ops=tuple(map(_op_record, element.iterfind("lrm_rsc_op"))),
            container=element.get("container", ""),
            shutdown_lock=_int(element.get("shutdown-lock")),
        )


def _ops(sources: list[Element]) -> tuple[Op, ...]:
    """Operations of a primitive; where it is made from a template, its own replace the template's."""
    own = [_op(e) for e in sources[-1].iterfind("operations/op")]
    if len(sources) == 1:
        return tuple(own)
    taken = {_template_key(op) for op in own}
    inherited = (_op(e) for e in sources[0].iterfind("operations/op"))
    return (*(op for op in inherited if _template_key(op) not in taken), *own)


def _template_key(op: Op) -> tuple[str, str]:
    """What makes an operation replace its template's: name and role, whatever the interval."""
    role = _role(op.attributes.get("role"))
    return op.name, "" if role in ("Started", "Unpromoted") else role


def _op(element: Element) -> Op:
    return Op(
        name=element.get("name", ""),
        interval_ms=durations.parse_ms(element.get("interval")),
        id=element.get("id", ""),
        attributes={k: v for k, v in element.attrib.items() if k not in _OP_OWN},
        meta=_nvsets(element, "meta_attributes"),
        params=_nvsets(element, "instance_attributes"),
    )


def _node(element: Element) -> Node:
    return Node(
        name=_required(element, "uname"),
        id=element.get("id", ""),
        type=element.get("type", "member"),
        attributes=_nvsets(element, "instance_attributes"),
        utilization=_nvsets(element, "utilization"),
    )


# --- constraints ----------------------------------------------------------------------------------


def _constraints(section: Element | None) -> tuple[Constraint, ...]:
    found: list[Constraint] = []
    for element in () if section is None else section:
        reader = _CONSTRAINT_READERS.get(element.tag)
        if reader is not None:
            found.append(reader(element))
    return tuple(found)


def _lifetime(element: Element) -> Rule | None:
    rule = element.find("lifetime/rule")
    return None if rule is None else _rule(rule)


def _sets(element: Element) -> tuple[ResourceSet, ...]:
    return tuple(
        ResourceSet(
            members=tuple(_required(ref, "id") for ref in s.iterfind("resource_ref")),
            id=s.get("id", ""),
            sequential=is_true(s.get("sequential")) if "sequential" in s.attrib else None,
            require_all=is_true(s.get("require-all", "true")),
            role=_role(s.get("role")),
            action=s.get("action", ""),
            kind=s.get("kind", ""),
            ordering=s.get("ordering", ""),
            score=None if s.get("score") is None else scores.parse(s.get("score")),
        )
        for s in element.iterfind("resource_set")
    )


def _location(element: Element) -> Location:
    return Location(
        id=_required(element, "id"),
        rsc=element.get("rsc", ""),
        rsc_pattern=element.get("rsc-pattern", ""),
        node=element.get("node", ""),
        score=scores.parse(element.get("score")),
        role=_role(element.get("role")),
        discovery=element.get("resource-discovery", ""),
        rules=tuple(_rule(r) for r in element.iterfind("rule")),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _colocation(element: Element) -> Colocation:
    return Colocation(
        id=_required(element, "id"),
        rsc=element.get("rsc", ""),
        with_rsc=element.get("with-rsc", ""),
        score=scores.parse(element.get("score")),
        rsc_role=_role(element.get("rsc-role")),
        with_rsc_role=_role(element.get("with-rsc-role")),
        node_attribute=element.get("node-attribute", ""),
        influence=element.get("influence", ""),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _order(element: Element) -> Order:
    score, symmetrical = element.get("score"), element.get("symmetrical")
    return Order(
        id=_required(element, "id"),
        first=element.get("first", ""),
        then=element.get("then", ""),
        first_action=element.get("first-action", ""),
        then_action=element.get("then-action", ""),
        kind=element.get("kind", ""),
        score=None if score is None else scores.parse(score),
        symmetrical=None if symmetrical is None else is_true(symmetrical),
        require_all=is_true(element.get("require-all", "true")),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _ticket_constraint(element: Element) -> TicketConstraint:
    return TicketConstraint(
        id=_required(element, "id"),
        ticket=_required(element, "ticket"),
        rsc=element.get("rsc", ""),
        rsc_role=_role(element.get("rsc-role")),
        loss_policy=element.get("loss-policy", ""),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


_CONSTRAINT_READERS: dict[str, Callable[[Element], Constraint]] = {
    "rsc_location": _location,
    "rsc_colocation": _colocation,
    "rsc_order": _order,
    "rsc_ticket": _ticket_constraint,
}


# --- the rest of the configuration ----------------------------------------------------------------


def _fencing_level(element: Element) -> FencingLevel:
    return FencingLevel(
        index=_int(element.get("index")),
        devices=tuple(d.strip() for d in element.get("devices", "").split(",") if d.strip()),
        id=element.get("id", ""),
        target=element.get("target", ""),
        target_pattern=element.get("target-pattern", ""),
        target_attribute=element.get("target-attribute", ""),
        target_value=element.get("target-value", ""),
    )


def _alert(element: Element) -> Alert:
    return Alert(
        id=element.get("id", ""),
        path=element.get("path", ""),
        recipients=tuple((r.get("id", ""), r.get("value", "")) for r in element.iterfind("recipient")),
        params=_nvsets(element, "instance_attributes"),
        meta=_nvsets(element, "meta_attributes"),
    )


# --- recorded state -------------------------------------------------------------------------------


def _op_record(element: Element) -> OpRecord:
    get = element.attrib.get
    return OpRecord(
        operation=get("operation", ""),
        id=get("id", ""),
        operation_key=get("operation_key", ""),
        interval_ms=_int(get("interval")),
        call_id=_int(get("call-id"), -1),
        rc=_int(get("rc-code")),
        op_status=_int(get("op-status")),
        transition_key=get("transition-key", ""),
        transition_magic=get("transition-magic", ""),
        last_rc_change=_int(get("last-rc-change")),
        exec_time=_int(get("exec-time")),
        queue_time=_int(get("queue-time")),
        op_digest=get("op-digest", ""),
        op_restart_digest=get("op-restart-digest", ""),
        op_force_restart=get("op-force-restart"),
        op_secure_digest=get("op-secure-digest", ""),
        op_secure_params=get("op-secure-params", ""),
        on_node=get("on_node", ""),
        exit_reason=get("exit-reason", ""),
        migrate_source=get("migrate_source", ""),
        migrate_target=get("migrate_target", ""),
        crm_feature_set=get("crm_feature_set", ""),
    )


def _ticket(element: Element) -> Ticket:
    return Ticket(
        id=_required(element, "id"),
        granted=is_true(element.get("granted")),
        standby=is_true(element.get("standby")),
        last_granted=_int(element.get("last-granted"), -1),
        attributes={k: v for k, v in element.attrib.items() if k not in ("id", "granted", "standby", "last-granted")},
    )
