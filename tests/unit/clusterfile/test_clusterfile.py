"""The cluster file: what it means to the scheduler, and what every kind of mistake is told."""

import textwrap
from pathlib import Path

import pytest

from hamgr.cib import model
from hamgr.cib.scores import INFINITY
from hamgr.clusterfile.agents import ActionSpec, AgentSpec, ParameterSpec
from hamgr.clusterfile.fencing import levels_for
from hamgr.clusterfile.load import ConfigError, dump_yaml, load_yaml

AGENTS = {
    "volume": AgentSpec(
        "volume",
        {"claim": ParameterSpec("claim", required=True), "namespace": ParameterSpec("namespace")},
        (ActionSpec("start", 60_000), ActionSpec("monitor", 20_000, 10_000), ActionSpec("meta-data", 5000)),
    ),
    "mariadb": AgentSpec(
        "mariadb",
        {
            "template": ParameterSpec("template", type="object"),
            "template_from": ParameterSpec("template_from"),
            "port": ParameterSpec("port", type="integer"),
            "park": ParameterSpec("park", type="boolean"),
            "mode": ParameterSpec("mode", type="select", choices=("fast", "safe")),
        },
        (ActionSpec("monitor", 20_000, 10_000), ActionSpec("monitor", 20_000, 11_000, "Promoted")),
        exactly_one_of=(("template", "template_from"),),
    ),
}
HEAD = "cluster: shop\nnodes: [n1, n2, n3]\n"
DISK = "  - {id: disk, agent: volume, params: {claim: data}}\n"


def load(text, agents=AGENTS):
    return load_yaml(textwrap.dedent(text), "shop.yaml", agents)


def problems(text, agents=AGENTS):
    with pytest.raises(ConfigError) as raised:
        load(text, agents)
    return [str(problem) for problem in raised.value.problems]


def primitive(cib, name):
    return next(p for r in cib.resources for p in (r.members if isinstance(r, model.Group) else (r,)) if p.id == name)


# --- meaning -----------------------------------------------------------------------------------------------------


def test_the_shortest_file_gets_a_fencer_and_the_defaults():
    cib = load(HEAD + "resources:\n" + DISK).to_cib()
    assert [node.name for node in cib.nodes] == ["n1", "n2", "n3"]
    assert cib.resources[0] == model.Primitive("fencing", model.Agent("stonith", "hamgr"))
    assert dict(cib.rsc_defaults[-1].pairs) == {
        "resource-stickiness": "100",
        "migration-threshold": "5",
        "failure-timeout": "10min",
    }
    assert primitive(cib, "disk").agent == model.Agent("ocf", "volume", "hamgr")


def test_agents_advice_fills_in_monitors_timeouts_and_namespace():
    disk = primitive(load(HEAD + "namespace: db\nresources:\n" + DISK).to_cib(), "disk")
    assert {(op.name, op.interval_ms): dict(op.attributes) for op in disk.ops} == {
        ("start", 0): {"timeout": "60000ms"},
        ("monitor", 10_000): {"timeout": "20000ms"},
    }
    assert {pair for entry in disk.params for pair in entry.pairs} == {("claim", "data"), ("namespace", "db")}


def test_what_the_file_says_beats_advice():
    text = HEAD + (
        "defaults: {operations: {timeout: 33s}, resources: {resource-stickiness: 0}}\n"
        "resources:\n"
        "  - id: disk\n    agent: volume\n    params: {claim: d, namespace: own}\n"
        "    operations: {monitor: {interval: 3s, on-fail: fence}}\n"
    )
    cib = load(text).to_cib()
    disk = primitive(cib, "disk")
    assert [(op.name, op.interval_ms, dict(op.attributes)) for op in disk.ops] == [
        ("monitor", 3000, {"on-fail": "fence"})
    ]
    assert dict(cib.op_defaults[0].pairs) == {"timeout": "33s"}
    assert cib.rsc_defaults[0].pairs == (("resource-stickiness", "0"),)
    assert [entry.pairs for entry in disk.params] == [(("claim", "d"), ("namespace", "own"))]


def test_several_monitors_by_role():
    text = HEAD + (
        "resources:\n  - clone: dbs\n    promotable: true\n    meta: {clone-max: 2}\n    of:\n"
        "      id: db\n      agent: mariadb\n      params: {template_from: deployment/x}\n"
        "      operations:\n        monitor: [{interval: 5s, role: Promoted}, {interval: 7s, role: Unpromoted}]\n"
    )
    clone = load(text).to_cib().resources[1]
    assert isinstance(clone, model.Clone)
    assert [(op.interval_ms, op.attributes["role"]) for op in clone.member.ops] == [
        (5000, "Promoted"),
        (7000, "Unpromoted"),
    ]
    assert [pair for entry in clone.meta for pair in entry.pairs] == [("clone-max", "2"), ("promotable", "true")]


def test_an_inline_template_becomes_json_with_types():
    text = HEAD + (
        "resources:\n  - id: db\n    agent: mariadb\n    params:\n"
        "      template: {spec: {securityContext: {fsGroup: 999}, args: [--x, 'yes']}}\n"
    )
    db = primitive(load(text).to_cib(), "db")
    assert dict(db.params[0].pairs)["template"] == '{"spec":{"args":["--x","yes"],"securityContext":{"fsGroup":999}}}'


def test_nodes_with_flags_attributes_and_utilization():
    text = "cluster: c\nnodes:\n  - {name: n1, standby: yes, attributes: {rack: a}, utilization: {memory: 4}}\n"
    node = load(text).to_cib().nodes[0]
    assert [entry.pairs for entry in node.attributes] == [(("standby", "true"),), (("rack", "a"),)]
    assert node.utilization[0].pairs == (("memory", "4"),)


def test_constraints_of_every_kind():
    text = HEAD + (
        "resources:\n" + DISK + "  - {id: disk2, agent: volume, params: {claim: e}}\n"
        "tags: {all: [disk, disk2]}\n"
        "constraints:\n"
        "  - location: {resource: disk, node: n1, score: 50}\n"
        "  - location: {resource: disk, node: n1, score: INFINITY, role: Promoted}\n"
        "  - location: {pattern: 'disk.*', rules: [{rule: 'pingd lt 1', score: -INFINITY}]}\n"
        "  - colocation: {resource: disk, with: disk2, score: -INFINITY}\n"
        "  - order: {first: disk, then: disk2, kind: Optional, symmetrical: false}\n"
        "  - order: {sets: [{resources: [disk, disk2], sequential: false}]}\n"
        "  - ticket: {ticket: t, resource: all, loss-policy: fence}\n"
    )
    first, twin, ruled, apart, order, in_sets, ticket = load(text).to_cib().constraints
    assert first == model.Location("location-disk-n1", "disk", node="n1", score=50)
    assert (twin.id, twin.score, twin.role) == ("location-disk-n1-2", INFINITY, "Promoted")
    assert ruled.rules[0].score == -INFINITY
    assert ruled.rules[0].expressions == (model.Expression("pingd", "lt", "1"),)
    assert apart == model.Colocation("colocation-disk-disk2", "disk", "disk2", -INFINITY)
    assert (order.kind, order.symmetrical) == ("Optional", False)
    assert in_sets.sets[0].members == ("disk", "disk2")
    assert not in_sets.sets[0].sequential
    assert (ticket.ticket, ticket.rsc, ticket.loss_policy) == ("t", "all", "fence")


def test_values_under_a_rule():
    text = HEAD + (
        "resources:\n"
        "  - id: disk\n    agent: volume\n    params: {claim: d}\n    meta:\n"
        "      - {rule: 'date-spec hours=9-16', score: 2, values: {resource-stickiness: INFINITY}}\n"
        "      - {values: {resource-stickiness: 0}}\n"
    )
    ruled, plain = primitive(load(text).to_cib(), "disk").meta
    assert (ruled.score, ruled.rule.expressions[0].operation) == (2, "date_spec")
    assert plain.pairs == (("resource-stickiness", "0"),)


FENCING = (
    HEAD
    + """\
fencing:
  levels: [volume, {level: manual, timeout: 5min}]
  drivers: [disk.csi.example.com]
  devices:
    - {id: pdu, agent: fence_apc, params: {ip: 10.0.0.1}, params-from: secret/pdu, nodes: [n1, n2]}
  topology:
    - {pattern: "n[23]", levels: [node]}
    - {node: n2, levels: [[pdu], volume]}
    - {attribute: rack, value: a, levels: [manual]}
"""
)


def test_fencing_topology_goes_from_the_particular_to_the_general():
    fencing = load(FENCING).fencing
    assert [level.level for level in levels_for(fencing, "n2", {})] == ["node", "volume"]
    assert levels_for(fencing, "n2", {})[0].devices == ("pdu",)
    assert [level.level for level in levels_for(fencing, "n3", {"rack": "a"})] == ["node"]
    assert [level.level for level in levels_for(fencing, "n1", {"rack": "a"})] == ["manual"]
    assert [level.level for level in levels_for(fencing, "n1", {})] == ["volume", "manual"]


def test_fencing_reaches_the_scheduler():
    cib = load(FENCING).to_cib()
    assert [resource.id for resource in cib.resources] == ["fencing", "pdu"]
    assert {pair for entry in cib.resources[1].params for pair in entry.pairs} == {
        ("ip", "10.0.0.1"),
        ("pcmk_host_list", "n1 n2"),
    }
    assert [(level.target, level.target_pattern, level.index, level.devices) for level in cib.fencing_levels] == [
        ("", "n[23]", 1, ("node",)),
        ("n2", "", 1, ("pdu",)),
        ("n2", "", 2, ("volume",)),
        ("", "", 1, ("manual",)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "options: {stonith-enabled: 'no'}\n",
        HEAD + "options: {fencing-enabled: 'no'}\n",
        HEAD + "resources: [{id: Power_Switch, agent: 'stonith:fence_apc'}]\n",
    ],
)
def test_no_fencer_is_added_where_fencing_is_off_or_configured(text):
    assert "fencing" not in [resource.id for resource in load(text).to_cib().resources]


@pytest.mark.parametrize("text", [FENCING, HEAD + "resources:\n" + DISK])
def test_dumping_loses_nothing(text):
    first = load(text)
    dumped = dump_yaml(first)
    assert load(dumped).section == first.section
    assert load(dumped).to_cib() == first.to_cib()


def test_the_example_is_valid_and_short_when_dumped():
    registry = pytest.importorskip("hamgr.executor.registry").Registry()
    example = Path(__file__).parents[3] / "config/examples/mariadb-cluster.yaml"
    cluster = load_yaml(example.read_text(), str(example), registry.specs())
    assert load_yaml(dump_yaml(cluster), "dump", registry.specs()).to_cib() == cluster.to_cib()
    assert "values:" not in dump_yaml(cluster)


# --- mistakes ----------------------------------------------------------------------------------------------------

MISTAKES = [
    ("", "shop.yaml:1:1: a cluster file is a mapping with at least the keys cluster and nodes"),
    ("- a\n", "shop.yaml:1:1: a cluster file is a mapping with at least the keys cluster and nodes"),
    ("cluster: c\n", "shop.yaml:1:1: the key 'nodes' is missing"),
    ("cluster: c\nnodes: []\n", "shop.yaml:2:8: nodes: at least one entry is needed"),
    ("cluster: C!\nnodes: [n1]\n", "shop.yaml:1:10: cluster: 'C!' must be lower-case letters"),
    (
        "cluster: c\nnodes: n1\n",
        "shop.yaml:2:8: nodes: a list belongs here, each entry with a dash before it, not 'n1'",
    ),
    ("cluster: c\nnodes: [n1, n1]\n", "shop.yaml:2:13: nodes[1]: 'n1' is taken already, in line 2"),
    (
        "cluster: c\nnodes: [{name: n1, standby: perhaps}]\n",
        "nodes[0].standby: true or false belongs here, not 'perhaps'",
    ),
    (HEAD + "resorces: []\n", "shop.yaml:3:1: resorces: there is no such key (did you mean 'resources'?)"),
    (
        HEAD + "options: {no-quorum-policy: stpo}\n",
        "options.no-quorum-policy: 'stpo' is not allowed here (did you mean 'stop'?); allowed: demote, fence, freeze, "
        "ignore, stop, suicide",
    ),
    (
        HEAD + "options: {symetric-cluster: true}\n",
        "shop.yaml:3:11: options.symetric-cluster: there is no cluster option of that name "
        "(did you mean 'symmetric-cluster'?)",
    ),
    (HEAD + "options: {cluster-recheck-interval: soon}\n", "'soon' is not a duration: write a number and a unit"),
    (HEAD + "options: {batch-limit: many}\n", "'many' is not a whole number"),
    (HEAD + "options: {stonith-enabled: maybe}\n", "'maybe' is neither true nor false"),
    (HEAD + "fencing: {levels: [volum]}\n", "fencing.levels[0]: there is no fencing level or device 'volum'"),
    (HEAD + "fencing: {levels: [[pdu]]}\n", "fencing.levels[0][0]: there is no fencing device 'pdu'"),
    (HEAD + "fencing: {topology: [{levels: [volume]}]}\n", "name exactly one of node, pattern"),
    (HEAD + "fencing: {topology: [{pattern: '[', levels: [volume]}]}\n", "'[' is no regular expression"),
    (
        HEAD + "fencing: {devices: [{id: d, agent: fence_x, params-from: vault}]}\n",
        "params-from: 'vault': write secret/NAME or file:/PATH",
    ),
    (HEAD + "resources: [foo]\n", "resources[0]: a mapping belongs here: a primitive (id, agent), a group, a clone"),
    (HEAD + "resources: [{id: disk}]\n", "resources[0]: the key 'agent' is missing"),
    (HEAD + "resources: [{id: disk, agent: volum}]\n", "there is no agent 'volum' (did you mean 'volume'?)"),
    (HEAD + "resources: [{id: disk, agent: 'ocf:x'}]\n", "resources[0].agent: 'ocf:x': write NAME, ocf:PROVIDER:NAME"),
    (HEAD + "resources: [{id: Disk_1, agent: volume, params: {claim: x}}]\n", "'Disk_1' becomes part of a pod's name"),
    (HEAD + "resources: [{id: disk, agent: volume}]\n", "the agent 'volume' needs claim"),
    (
        HEAD + "resources: [{id: disk, agent: volume, params: {clam: x, claim: y}}]\n",
        "shop.yaml:3:48: resources[0].params.clam: the agent 'volume' has no such parameter (did you mean 'claim'?)",
    ),
    (HEAD + "resources: [{id: db, agent: mariadb}]\n", "needs exactly one of template, template_from"),
    (
        HEAD + "resources: [{id: db, agent: mariadb, params: {template: {}, template_from: d/x}}]\n",
        "needs exactly one of template, template_from",
    ),
    (
        HEAD + "resources: [{id: db, agent: mariadb, params: {template: word}}]\n",
        "resources[0].params.template: a mapping belongs here, not text",
    ),
    (
        HEAD + "resources: [{id: db, agent: mariadb, params: {template_from: d/x, port: http}}]\n",
        "resources[0].params.port: 'http' is not a whole number",
    ),
    (
        HEAD + "resources: [{id: db, agent: mariadb, params: {template_from: d/x, mode: slow}}]\n",
        "'slow' is not allowed here; allowed: fast, safe",
    ),
    (
        HEAD + "resources: [{id: disk, agent: volume, params: {claim: x}, meta: {resource-stickyness: 1}}]\n",
        "there is no meta-attribute of that name (did you mean 'resource-stickiness'?)",
    ),
    (
        HEAD
        + "resources: [{id: disk, agent: volume, params: {claim: x}, operations: {monitor: {on-fail: explode}}}]\n",
        "operations.monitor.on-fail: 'explode' is not allowed here; allowed: block, demote, fence,",
    ),
    (
        HEAD
        + "resources: [{id: disk, agent: volume, params: {claim: x}, operations: {monitor: [{}, {interval: x}]}}]\n",
        "operations.monitor[1].interval: 'x' is not a duration",
    ),
    (HEAD + "resources:\n" + DISK + DISK, "shop.yaml:5:10: resources[1].id: 'disk' is taken already, in line 4"),
    (HEAD + "resources: [{group: g, members: []}]\n", "resources[0].members: at least one entry is needed"),
    (HEAD + "resources: [{clone: c, of: x}]\n", "a primitive or a group belongs here"),
    (
        HEAD + "constraints: [{location: {resource: nobody, node: n1, score: 1}}]\n",
        "constraints[0].location.resource: there is no resource or tag 'nobody' in this file",
    ),
    (
        HEAD + "resources:\n" + DISK + "constraints: [{location: {resource: disk, node: n9, score: 1}}]\n",
        "constraints[0].location.node: there is no node 'n9' in this file; allowed: n1, n2, n3",
    ),
    (
        HEAD + "resources:\n" + DISK + "constraints: [{location: {resource: disk, node: n1}}]\n",
        "a node needs a score (50, INFINITY, -INFINITY)",
    ),
    (HEAD + "resources:\n" + DISK + "constraints: [{location: {resource: disk}}]\n", "say where: a node with a score"),
    (
        HEAD + "resources:\n" + DISK + "constraints: [{location: {resource: disk, node: n1, score: lots}}]\n",
        "location.score: 'lots' is not a score: write a whole number, INFINITY or -INFINITY",
    ),
    (
        HEAD + "resources:\n" + DISK + "constraints: [{location: {resource: disk, rules: [{rule: a, score: 1}]}}]\n",
        "rules[0].rule: this rule cannot be read: the rule ends where a comparison",
    ),
    (HEAD + "resources:\n" + DISK + "constraints: [{colocation: {resource: disk}}]\n", "give either resource and with"),
    (
        HEAD + "resources:\n" + DISK + "constraints: [{}]\n",
        "each entry is one of location, colocation, order and ticket",
    ),
    (HEAD + "tags: {t: [nobody]}\n", "tags.t[0]: there is no resource or tag 'nobody'"),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES, ids=[complaint[:60] for _, complaint in MISTAKES])
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(text, complaint):
    found = problems(text)
    assert len(found) == 1, found
    assert complaint in found[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines():
    found = problems(
        """\
        cluster: Shop
        options: {no-quorum-policy: stpo}
        nodes: [n1, n1]
        resources:
          - group: g
            members:
              - {id: disk, agnt: volume}
              - {id: db, agent: mariadbx, meta: {is-managed: perhaps}}
        constraints:
          - location: {resource: x, node: y, score: z}
        """
    )
    assert [problem.split(":")[1] for problem in found] == ["1", "2", "3", "7", "7", "8", "8", "10", "10", "10"]


def test_without_agents_resources_are_taken_as_they_are():
    text = HEAD + "resources: [{id: x, agent: something, params: {any: thing}}]\n"
    assert primitive(load(text, agents=None).to_cib(), "x").params[0].pairs == (("any", "thing"),)


@pytest.mark.parametrize("option", ["clone-max", "clone-node-max"])
def test_a_clone_has_no_more_instances_than_the_scheduler_can_place_in_time(option):
    clone = "{{clone: c, meta: {{{}: {}}}, of: {{id: d, agent: 'ocf:pacemaker:Dummy'}}}}"
    text = f"cluster: t\nnodes: [n1]\nresources: [{clone}]\n"
    load_yaml(text.format(option, 200), "f.yaml")
    with pytest.raises(ConfigError, match="'5000' is more than the 200 instances that a clone may have"):
        load_yaml(text.format(option, 5000), "f.yaml")
