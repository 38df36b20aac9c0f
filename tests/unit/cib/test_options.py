"""Every option that the table calls used changes something, under each of its names; the others are named with why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.leader_world import FILE, World, cluster_file
from scheduler.cibs import Case, clone, fence_device, primitive, xml

from hamgr.cib import options
from hamgr.cib.model import Cib
from hamgr.cib.options import CLONE, CLUSTER, GROUP, OPERATION, PRIMITIVE, Option, Values
from hamgr.cib.xml.document import load_xml
from hamgr.cli.apply import notes
from hamgr.clusterfile.build.build import RESOURCE_DEFAULTS
from hamgr.clusterfile.load import load_yaml
from hamgr.clusterfile.options import why_unused
from hamgr.clusterfile.resources import Operation
from hamgr.controller.fencing.levels import fencing_config
from hamgr.controller.fencing.priority_delay import priority_delay_s
from hamgr.controller.transition.limits import Limits
from hamgr.importer.convert import Translation
from hamgr.scheduler import schedule
from hamgr.scheduler.transition import GraphAction

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B = primitive("A"), primitive("B")
FENCING = {"stonith-enabled": "true"}
YELLOW = {"n1": {"#health-disk": "yellow"}}


def pairs(owner: str, name: str, value: str) -> str:
    return f'<meta_attributes id="{owner}-x"><nvpair id="{owner}-x1" name="{name}" value="{value}"/></meta_attributes>'


def located(rsc: str, node: str, score: str = "10") -> str:
    return f'<rsc_location id="l-{rsc}-{node}" rsc="{rsc}" node="{node}" score="{score}"/>'


def ruled(rsc: str, attribute: str, value: str) -> str:
    expression = f'<expression id="e" attribute="{attribute}" operation="eq" value="{value}"/>'
    return f'<rsc_location id="l" rsc="{rsc}"><rule id="r" score="-INFINITY">{expression}</rule></rsc_location>'


@dataclass
class Asked:
    """A cluster, as the scheduler is asked about it with an option and without. `{meta}` in the resources takes it."""

    value: str
    resources: str = A
    probed: str = "A"
    constraints: str = ""
    options: dict[str, str] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    ops: tuple[tuple[str, str, str, int, int], ...] = ()
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    seen: int = 3  # how many of the nodes have a state

    def answer(self, **option: str) -> object:
        case = Case("", self.resources, set(), self.constraints, {**self.options, **option}, self.active, self.ops,
                    self.attributes, self.lost)  # fmt: skip
        cib = load_xml(xml(case, self.probed.split()))
        return answer(replace(cib, node_states=cib.node_states[: self.seen]))


def answer(cib: Cib) -> object:
    """What is done, in which order, for how long."""
    found = schedule(cib, NOW)
    keys = {action.id: f"{action.key} on {action.node}" for action in found.actions}
    actions = sorted(f"{keys[a.id]} {a.fence} {a.timeout_ms} {a.kind}" for a in found.actions)
    return actions, sorted((keys.get(first, "?"), keys[then]) for first, then in found.edges), found.summary


SCHEDULER_OPTIONS = {
    "cancel-removed-actions": Asked("false", active={"A": "n1"}, ops=(("n1", "A", "monitor", 10000, 0),)),
    "cluster-name": Asked("east", constraints=ruled("A", "#cluster-name", "east")),
    "concurrent-fencing": Asked("true", A + fence_device(), options=FENCING, lost=("n2", "n3")),
    "enable-startup-probes": Asked("false", probed=""),
    "fencing-action": Asked("off", A + fence_device(), options=FENCING, lost=("n2",)),
    "fencing-enabled": Asked("true", A + fence_device(), lost=("n2",), active={"A": "n2"}),
    "maintenance-mode": Asked("true"),
    "node-health-base": Asked("-INFINITY", options={"node-health-strategy": "progressive"}),
    "node-health-green": Asked(
        "-INFINITY", options={"node-health-strategy": "custom"}, attributes={"n1": {"#health-disk": "green"}}
    ),
    "node-health-red": Asked(
        "0", options={"node-health-strategy": "custom"}, attributes={"n1": {"#health-disk": "red"}}
    ),
    "node-health-strategy": Asked("only-green", attributes=YELLOW),
    "node-health-yellow": Asked("-INFINITY", options={"node-health-strategy": "custom"}, attributes=YELLOW),
    "placement-strategy": Asked(
        "utilization", primitive("A", params='<utilization id="u"><nvpair id="u1" name="cpu" value="2"/></utilization>')
    ),
    "remove-after-stop": Asked("true", primitive("A", "target-role=Stopped"), active={"A": "n1"}),
    "startup-fencing": Asked("false", A + fence_device(), options=FENCING, seen=2),
    "stop-all-resources": Asked("true", active={"A": "n1"}),
    "stop-removed-resources": Asked("false", B, "A B", active={"A": "n1"}),
    "symmetric-cluster": Asked("false"),
}

TAKES_META = '<primitive id="A" class="ocf" provider="pacemaker" type="Dummy">{meta}</primitive>'
ON_N1 = {"A": "n1"}
FAILED = (("n1", "A", "monitor", 10000, 1),)
MONITORED = TAKES_META.replace("{meta}", '{meta}<operations><op id="m" name="monitor" interval="10s"/></operations>')
TOGETHER = '<rsc_colocation id="c" rsc="A" with-rsc="B" score="INFINITY"/>'
MEMBERS = f'<group id="A">{{meta}}{B}{primitive("C")}</group>'
CLONED = f'<clone id="A">{{meta}}{B}</clone>'


def cloned(meta: str) -> str:
    """A clone with meta-attributes of its own, besides the one that is tried."""
    given = "".join(f'<nvpair id="g-{p}" name="{p.split("=")[0]}" value="{p.split("=")[1]}"/>' for p in meta.split())
    return CLONED.replace("{meta}", f'{{meta}}<meta_attributes id="g">{given}</meta_attributes>')


CONTAINER = "container-attribute-target"
SCORES = {n: {"master-B": "10"} for n in ("n1", "n2")}
META = {
    "allow-migrate": Asked("true", TAKES_META, active=ON_N1, constraints=located("A", "n3")),
    "allow-unhealthy-nodes": Asked(
        "true", TAKES_META, options={"node-health-strategy": "only-green"}, attributes=YELLOW
    ),
    "critical": Asked(
        "false", TAKES_META + primitive("B", "resource-stickiness=1"), "A B",
        TOGETHER + located("A", "n1", "-INFINITY"), active={"B": "n1"},
    ),
    "failure-timeout": Asked("10s", MONITORED, active=ON_N1, ops=FAILED),
    "is-managed": Asked("false", TAKES_META),
    "maintenance": Asked("true", TAKES_META),
    "migration-threshold": Asked(
        "3", MONITORED, active=ON_N1, ops=FAILED, attributes={"n1": {"fail-count-A#monitor_10000": "3"}}
    ),
    "multiple-active": Asked("block", TAKES_META, active={"A": "n1,n2"}),
    "priority": Asked("10", B + TAKES_META, "A B"),
    "requires": Asked("nothing", TAKES_META + fence_device(), options=FENCING, lost=("n2",)),
    "resource-stickiness": Asked("100", TAKES_META, active=ON_N1, constraints=located("A", "n3")),
    "target-role": Asked("Stopped", TAKES_META, active=ON_N1),
    "collocated": Asked("false", MEMBERS, "B C"),
    "ordered": Asked("false", MEMBERS, "B C"),
    "clone-max": Asked("1", CLONED, "B"),
    "clone-min": Asked(
        "1", CLONED + primitive("C"), "B C", '<rsc_order id="o" first="A" then="C"/>'
    ),
    "clone-node-max": Asked("2", cloned("globally-unique=true clone-max=6"), "B"),
    "globally-unique": Asked("true", cloned("clone-max=2"), "B"),
    "interleave": Asked(
        "true", CLONED + clone("D", primitive("C")), "B C", '<rsc_order id="o" first="D" then="A"/>'
    ),
    "notify": Asked("true", CLONED, "B"),
    "promotable": Asked("true", CLONED, "B", attributes=SCORES),
    "promoted-max": Asked("2", cloned("promotable=true"), "B", attributes=SCORES),
    "promoted-node-max": Asked(
        "2",
        cloned("promotable=true globally-unique=true clone-max=2 clone-node-max=2 promoted-max=2"), "B",
        located("A", "n2", "-INFINITY") + located("A", "n3", "-INFINITY"),
        attributes={"n1": {"master-B:0": "10", "master-B:1": "10", "master-B": "10"}},
    ),
}  # fmt: skip

ONE_OP = TAKES_META.replace("{meta}", '<operations><op id="m" name="monitor" interval="10s" {op}/></operations>')
OPERATIONS = {
    "enabled": Asked("false", ONE_OP),
    "interval": Asked("30s", ONE_OP.replace('interval="10s" ', "")),
    "on-fail": Asked("block", ONE_OP, active=ON_N1, ops=FAILED),
    "role": Asked("Stopped", ONE_OP),
    "timeout": Asked("99s", ONE_OP),
}


def used(*tables: dict[str, Option], by: str = "") -> list[str]:
    """All names of the options that have an effect in a running cluster."""
    found = options.names(*tables)
    return [name for name, option in found.items() if not option.why_not and (not by or option.used == by)]


def other_node(action: GraphAction, node: str) -> GraphAction:
    return replace(action, id=action.id + 1, node=node)


def limited(name: str, value: str) -> list[int]:
    """Which of two starts and a migration on one node may begin while another migration from there is under way."""
    start = GraphAction(1, "rsc", "A_start_0", "start", "n1")
    to = GraphAction(9, "rsc", "C_migrate_to_0", "migrate_to", "n1", migrate_source="n1", migrate_target="n2")
    limits = Limits.of(Values({name: value} if value else {}))
    return [a.id for a in limits.admit([start, replace(to, id=2), other_node(start, "n3")], [to])]


def with_options(text: str) -> str:
    return FILE.replace("nodes:", f"options: {{{text}}}\nnodes:")


def rechecked(text: str) -> bool:
    """Whether the scheduler is asked again within 30 s in which nothing happens."""
    world = World(with_options(text))
    world.settle()
    last = world.leader.last
    world.advance(30.0)
    return world.leader.last is not last


def after_a_failed_start(text: str) -> bool:
    """Whether a resource is tried on the same node again after one failed start."""
    world = World(with_options(text))
    world.until(lambda: bool(world.ops("start", "web")))
    (starting,) = world.ops("start", "web")
    world.end(starting, 1)
    world.settle()
    return world.where("web") == [starting.node]


def level_timeouts(text: str) -> list[float]:
    file = cluster_file(with_options(text) + "fencing: {levels: [volume, {level: node, timeout: 90s}]}\n")
    return [level.timeout_s for level in fencing_config(file.fencing, {"n1": {}})[0].levels_for("n1")]


def fence_delay(text: str) -> float:
    """How long the fence waits of the node with the resource of priority, while another one is lost as well."""
    priority = "  - {id: web, agent: dummy, meta: {priority: 10}, operations: {monitor: {interval: 10s}}}"
    world = World(with_options(text).replace("  - {id: web, agent: dummy}", priority))
    world.settle()
    (node,) = world.where("web")
    (other, *_) = {"n1", "n2", "n3"} - {node, *world.where("db")} or set(world.where("db"))
    for lost in (node, other):
        world.lose(lost)
    world.advance()
    return priority_delay_s(world.leader.cib(), node, int(world.time))


LIMITS = {
    "batch-limit": (lambda: limited("batch-limit", ""), lambda: limited("batch-limit", "2")),
    "node-action-limit": (lambda: limited("node-action-limit", ""), lambda: limited("node-action-limit", "2")),
    "migration-limit": (lambda: limited("migration-limit", ""), lambda: limited("migration-limit", "1")),
}
CONTROLLER: dict[str, Callable[[str], object]] = {
    "cluster-recheck-interval": rechecked,
    "start-failure-is-fatal": after_a_failed_start,
    "fencing-timeout": level_timeouts,
    "priority-fencing-delay": fence_delay,
}
CONTROLLER_VALUES = {
    "cluster-recheck-interval": "20s",
    "start-failure-is-fatal": "false",
    "fencing-timeout": "45s",
    "priority-fencing-delay": "15s",
}


@pytest.mark.parametrize("name", used(CLUSTER))
def test_every_cluster_option_changes_something(name: str) -> None:
    option = options.find(CLUSTER, name)
    assert option is not None
    if option.name in LIMITS:
        without, with_it = LIMITS[option.name]
        assert without() == [1, 2, 2]
        assert with_it() != without()
    elif option.name in CONTROLLER:
        asked = CONTROLLER[option.name]
        assert asked(f"{name}: {CONTROLLER_VALUES[option.name]}") != asked("")
    else:
        case = SCHEDULER_OPTIONS[option.name]
        assert case.answer(**{name: case.value}) != case.answer()


@pytest.mark.parametrize(
    "name", [name for name in used(PRIMITIVE, GROUP, CLONE) if name != "container-attribute-target"]
)
def test_every_meta_attribute_changes_something(name: str) -> None:
    option = options.find(options.META, name)
    assert option is not None
    if name == CONTAINER:
        assert promoted_on_host("host") != promoted_on_host("")
        return
    case = META[option.name]
    assert "{meta}" in case.resources
    asked = [
        replace(case, resources=case.resources.replace("{meta}", meta)) for meta in ("", pairs("A", name, case.value))
    ]
    assert asked[0].answer() != asked[1].answer()


def promoted_on_host(target: str) -> object:
    """A bundle whose promotion score is an attribute of its hosts."""
    bundle = (
        '<bundle id="A"><podman image="i" replicas="2" promoted-max="1"/><network control-port="3123"/>'
        f'<primitive id="B" class="ocf" provider="pacemaker" type="Stateful">{pairs("B", CONTAINER, target)}'
        "</primitive></bundle>"
    )
    return Asked("", bundle, "", attributes={n: {"master-B": "10"} for n in ("n1", "n2", "n3")}).answer()


@pytest.mark.parametrize("name", used(OPERATION))
def test_every_property_of_operations_changes_something(name: str) -> None:
    if name == "start-delay":
        assert [monitors(text) for text in ("", ", start-delay: 5s")] == [{0}, {5000}]
        return
    case = OPERATIONS[name]
    asked = [replace(case, resources=case.resources.replace("{op}", op)) for op in ("", f'{name}="{case.value}"')]
    if name == "interval":
        asked[0] = replace(case, resources=case.resources.replace("{op}", 'interval="10s"'))
    assert asked[0].answer() != asked[1].answer()


def monitors(text: str) -> set[int]:
    """The delays with which the executor is asked to begin the monitors of one resource."""
    world = World(FILE.replace("{interval: 10s}", f"{{interval: 10s{text}}}"))
    world.settle()
    return {op.start_delay_ms for op in world.executor.monitors.values() if op.name == "db"}


# --- those that have no effect -----------------------------------------------------------------------------------


def unused(*tables: dict[str, Option]) -> list[str]:
    return [name for name, option in options.names(*tables).items() if option.why_not]


def value_of(option: Option) -> str:
    return (
        option.choices[0]
        if option.choices
        else {"boolean": "true", "duration": "10s", "integer": "3", "text": "x"}[option.kind]
    )


@pytest.mark.parametrize("name", unused(CLUSTER))
def test_a_cluster_option_without_effect_is_named(name: str, tmp_path: Path) -> None:
    value = value_of(options.names(CLUSTER)[name])
    file = cluster_file(with_options(f"{name}: {value}"))
    assert file.unused_options == (f"cluster option {name} has no effect: {why_unused(name)}",)
    assert file.unused_options[0] in notes(file)
    assert file.to_cib().options[0].pairs == ()
    imported = Translation(load_xml(xml(Case("", A, set(), options={name: value}), [])), "shop")
    assert f"cluster option {name}: not imported; {why_unused(name)}" in imported.notes
    assert name not in str(imported.section)


@pytest.mark.parametrize("name", [*unused(PRIMITIVE, GROUP, CLONE), *unused(OPERATION)])
def test_a_property_of_resources_without_effect_is_named(name: str) -> None:
    table, where = (
        (OPERATION, "operations: {monitor: {interval: 10s, %s}}") if name in OPERATION else (PRIMITIVE, "meta: {%s}")
    )
    value = value_of(options.names(table)[name])
    file = load_yaml(
        f"cluster: t\nnodes: [n1]\nresources: [{{id: db, agent: dummy, {where % f'{name}: {value}'}}}]\n", "f"
    )
    what = "operation monitor: property" if name in OPERATION else "meta-attribute"
    assert file.unused_options == (f"resource db: {what} {name} has no effect: {why_unused(name)}",)
    assert name not in str(file.to_cib().resources)


def test_the_file_knows_every_property_of_operations() -> None:
    assert {name.replace("-", "_") for name in OPERATION} <= Operation.model_fields.keys()


def test_each_option_says_who_reads_it_or_why_nobody_does() -> None:
    for option in [*CLUSTER.values(), *options.META.values(), *OPERATION.values()]:
        assert option.used or option.why_not, option.name
        assert option.doc or option.why_not, option.name


def test_todays_name_counts_before_an_older_one() -> None:
    assert Values({"stonith-enabled": "true", "fencing-enabled": "false"}).flag("fencing-enabled") is False
    assert Values({"stonith-enabled": "false"}).flag("fencing-enabled") is False


def test_a_name_that_is_no_option_is_an_error_and_not_a_default() -> None:
    with pytest.raises(KeyError):
        Values({}).flag("fencing-enable")


def test_a_fencing_timeout_under_a_rule_is_named() -> None:
    sets = '[{rule: "date gt 2020-01-01", values: {fencing-timeout: 9s}}]'
    file = cluster_file(FILE.replace("nodes:", f"options: {sets}\nnodes:"))
    (said,) = file.unused_options
    assert said.startswith("cluster option fencing-timeout under a rule has no effect")
    assert file.fencing == cluster_file().fencing


# --- defaults ----------------------------------------------------------------------------------------------------


def with_default(*tables: dict[str, Option]) -> list[str]:
    """The options whose default is a value; those of the cluster file's own are not what a CIB goes by."""
    found = (option for table in tables for option in table.values())
    return [o.name for o in found if o.default and not o.why_not and o.name not in RESOURCE_DEFAULTS]


@pytest.mark.parametrize("name", with_default(CLUSTER))
def test_a_cluster_options_default_is_what_holds_without_it(name: str) -> None:
    default = CLUSTER[name].default
    if name in LIMITS:
        assert limited(name, default) == limited(name, "")
    elif name in CONTROLLER:
        assert CONTROLLER[name](f"{name}: {default}") == CONTROLLER[name]("")
    else:
        case = SCHEDULER_OPTIONS[name]
        assert case.answer(**{name: default}) == case.answer(**({} if name != "fencing-enabled" else FENCING))


@pytest.mark.parametrize("name", [*with_default(PRIMITIVE, GROUP, CLONE), *with_default(OPERATION)])
def test_a_propertys_default_is_what_holds_without_it(name: str) -> None:
    if name in ("interval", "start-delay"):  # without the one there is no monitor; the other is the executor's
        return
    table, mark = (OPERATIONS, "{op}") if name in OPERATION else (META, "{meta}")
    default = (OPERATION if name in OPERATION else options.META)[name].default
    written = f'{name}="{default}"' if name in OPERATION else pairs("A", name, default)
    case = table[name]
    asked = [replace(case, resources=case.resources.replace(mark, text)).answer() for text in ("", written)]
    assert asked[0] == asked[1]


def test_the_cluster_files_own_defaults_are_those_of_the_table() -> None:
    (defaults,) = (s for s in cluster_file().to_cib().rsc_defaults if s.id == "hamgr-rsc-defaults")
    assert dict(defaults.pairs) == {name: options.META[name].default for name in RESOURCE_DEFAULTS}
