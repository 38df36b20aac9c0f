"""The resources section of a CIB: primitives, groups, clones and bundles, with what templates lend them."""

from __future__ import annotations

from hamgr.cib import durations
from hamgr.cib.model import Bundle, Clone, Group, Op, PortMapping, Primitive, Resource, StorageMapping
from hamgr.cib.xml.elements import Element
from hamgr.cib.xml.values import Agents, CibError, children, nvsets, required, role_name

_OP_OWN = frozenset(("id", "name", "interval"))


class ResourceReader:
    """Reads the resources of one document, whose ids are unique and some of which are made from templates."""

    def __init__(self, section: Element | None, agents: Agents) -> None:
        self._section = section
        self._agents = agents
        self._ids: set[str] = set()
        self._templates = {required(one, "id"): one for one in children(section, "template")}
        self._made: dict[str, list[str]] = {name: [] for name in self._templates}

    def resources(self) -> tuple[Resource, ...]:
        """All resources of the section; raises `CibError`."""
        found = map(self._resource, () if self._section is None else self._section)
        return tuple(one for one in found if one is not None)

    def made_from_templates(self) -> dict[str, tuple[str, ...]]:
        """For each template the primitives that have been made from it so far."""
        return {name: tuple(made) for name, made in self._made.items()}

    def _resource(self, element: Element) -> Resource | None:
        tag = element.tag
        if tag == "primitive":
            return self._primitive(element)
        if tag == "group":
            return self._group(element)
        if tag in ("clone", "master"):
            return self._clone(element)
        if tag == "bundle":
            return self._bundle(element)
        return None

    def _claim_id(self, element: Element) -> str:
        name = required(element, "id")
        if name in self._ids:
            raise CibError(f'Line {element.line}: <{element.tag} id="{name}">: another resource has this id already.')
        self._ids.add(name)
        return name

    def _primitive(self, element: Element) -> Primitive:
        name = self._claim_id(element)
        sources = [element]
        template = element.get("template", "")
        if template:
            if template not in self._templates:
                raise CibError(f'<primitive id="{name}"> is made from template "{template}", which does not exist.')
            self._made[template].append(name)
            sources = [self._templates[template], element]
        kind = sources[0]
        return Primitive(
            id=name,
            agent=self._agents.agent(required(kind, "class"), required(kind, "type"), kind.get("provider", "")),
            ops=_ops(sources),
            params=tuple(s for source in sources for s in nvsets(source, "instance_attributes")),
            meta=tuple(s for source in sources for s in nvsets(source, "meta_attributes")),
            utilization=tuple(s for source in sources for s in nvsets(source, "utilization")),
            template=template,
        )

    def _group(self, element: Element) -> Group:
        return Group(
            id=self._claim_id(element),
            members=tuple(self._primitive(e) for e in element.iterfind("primitive")),
            params=nvsets(element, "instance_attributes"),
            meta=nvsets(element, "meta_attributes"),
        )

    def _clone(self, element: Element) -> Clone:
        name = self._claim_id(element)
        for child in element:
            if child.tag in ("primitive", "group"):
                member = self._primitive(child) if child.tag == "primitive" else self._group(child)
                return Clone(
                    id=name,
                    member=member,
                    params=nvsets(element, "instance_attributes"),
                    meta=nvsets(element, "meta_attributes"),
                    master=element.tag == "master",
                )
        raise CibError(f'<{element.tag} id="{name}"> has no resource to clone.')

    def _bundle(self, element: Element) -> Bundle:
        name = self._claim_id(element)
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
                for p in children(network, "port-mapping")
            ),
            storage=tuple(
                StorageMapping(
                    id=s.get("id", ""),
                    source_dir=s.get("source-dir", ""),
                    source_dir_root=s.get("source-dir-root", ""),
                    target_dir=s.get("target-dir", ""),
                    options=s.get("options", ""),
                )
                for s in children(element.find("storage"), "storage-mapping")
            ),
            primitive=None if inner is None else self._primitive(inner),
            meta=nvsets(element, "meta_attributes"),
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
    role = role_name(op.attributes.get("role"))
    return op.name, "" if role in ("Started", "Unpromoted") else role


def _op(element: Element) -> Op:
    return Op(
        name=element.get("name", ""),
        interval_ms=durations.parse_ms(element.get("interval")),
        id=element.get("id", ""),
        attributes={k: v for k, v in element.attrib.items() if k not in _OP_OWN},
        meta=nvsets(element, "meta_attributes"),
        params=nvsets(element, "instance_attributes"),
    )
