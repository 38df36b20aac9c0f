"""Reads a Pacemaker CIB (schema pacemaker-3.x) into the model.

Lenient where Pacemaker is lenient (unknown elements and attributes are skipped, numbers that are none count as 0),
strict where a guess could be wrong about what runs where: duplicate or missing ids and resources without an agent are
errors that name the element. Templates and ``id-ref`` references are resolved here: nothing after this knows of them.
"""

from __future__ import annotations

from os import PathLike

from hamgr.cib import scores
from hamgr.cib.booleans import is_true
from hamgr.cib.model import Alert, Cib, FencingLevel, Node
from hamgr.cib.xml import elements
from hamgr.cib.xml.constraints import constraints
from hamgr.cib.xml.elements import Element
from hamgr.cib.xml.resources import ResourceReader
from hamgr.cib.xml.status import node_state, ticket
from hamgr.cib.xml.values import Agents, CibError, children, integer, nvsets, required

# A CIB of 2,000 resources on 100 nodes is about 60 MB; Pacemaker's own IPC could not carry that.
MAX_BYTES = 128 * 1024 * 1024


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
    return _cib(root)


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


def _cib(root: Element) -> Cib:
    configuration = root.find("configuration")

    def section(name: str) -> Element | None:
        return None if configuration is None else configuration.find(name)

    agents = Agents()
    resources = ResourceReader(section("resources"), agents)
    execution_date = root.get("execution-date")
    return Cib(
        nodes=tuple(map(_node, children(section("nodes"), "node"))),
        resources=resources.resources(),
        constraints=constraints(section("constraints")),
        options=nvsets(section("crm_config"), "cluster_property_set"),
        rsc_defaults=nvsets(section("rsc_defaults"), "meta_attributes"),
        op_defaults=nvsets(section("op_defaults"), "meta_attributes"),
        tags={
            tag.get("id", ""): tuple(ref.get("id", "") for ref in tag.iterfind("obj_ref"))
            for tag in children(section("tags"), "tag")
        },
        templates=resources.made_from_templates(),
        fencing_levels=tuple(map(_fencing_level, children(section("fencing-topology"), "fencing-level"))),
        alerts=tuple(map(_alert, children(section("alerts"), "alert"))),
        node_states=tuple(node_state(one, agents) for one in root.iterfind("status/node_state")),
        tickets=tuple(map(ticket, root.iterfind("status/tickets/ticket_state"))),
        have_quorum=is_true(root.get("have-quorum")),
        dc_uuid=root.get("dc-uuid", ""),
        no_quorum_panic=is_true(root.get("no-quorum-panic")),
        crm_feature_set=root.get("crm_feature_set", ""),
        execution_date=None if execution_date is None else scores.leading_int(execution_date),
    )


def _node(element: Element) -> Node:
    kind = element.get("type", "member")
    return Node(
        name=required(element, "uname"),
        id=element.get("id", ""),
        type="member" if kind == "normal" else kind,  # as Pacemaker's upgrade of a CIB up to pacemaker-1.2 makes it
        attributes=nvsets(element, "instance_attributes"),
        utilization=nvsets(element, "utilization"),
    )


def _fencing_level(element: Element) -> FencingLevel:
    return FencingLevel(
        index=integer(element.get("index")),
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
        params=nvsets(element, "instance_attributes"),
        meta=nvsets(element, "meta_attributes"),
    )
