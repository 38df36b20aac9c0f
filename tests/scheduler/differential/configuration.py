"""Writes a plan as a CIB's configuration section, with options and constraints drawn on the way."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

from scheduler.differential.drawing import Dice
from scheduler.differential.plan import FENCE_AGENT, Plan, PlannedNode, PlannedPrimitive, PlannedResource

Pairs = Iterable[tuple[str, str]]
SCORES = ("INFINITY", "100", "10", "1", "0", "-1", "-10", "-100", "-INFINITY", "50", "1000000", "-2000000")
ROLES = ("Started", "Stopped", "Promoted", "Unpromoted")
ACTIONS = ("start", "stop", "promote", "demote")
KINDS = ("Mandatory", "Optional", "Serialize")
SITES = ("east", "west")


def written(plan: Plan, dice: Dice) -> Element:
    """The <cib> element with its configuration, without a status section."""
    quorum = not dice.chance(13)
    members = [node for node in plan.nodes if node.kind == "member"]
    root = Element(
        "cib",
        {
            "crm_feature_set": "3.16.1",
            "validate-with": "pacemaker-3.9",
            "epoch": "1",
            "num_updates": "1",
            "admin_epoch": "0",
            "have-quorum": "1" if quorum else "0",
            "dc-uuid": plan.nodes[0].id if not dice.chance(10) else dice.pick(members).id,
        },
    )
    if not quorum and dice.chance(50):
        root.set("no-quorum-panic", "1")
    writer = _Writer(plan, dice)
    configuration = SubElement(root, "configuration")
    writer.options(SubElement(configuration, "crm_config"))
    nodes = SubElement(configuration, "nodes")
    for node in plan.nodes:
        writer.node(nodes, node)
    resources = SubElement(configuration, "resources")
    if any(member.template for resource in plan.resources for member in resource.members):
        SubElement(resources, "template", {"id": "common", "class": "ocf", "provider": "pacemaker", "type": "Dummy"})
    for resource in plan.resources:
        writer.resource(resources, resource)
    constraints = SubElement(configuration, "constraints")
    for number in range(dice.weighted(((30, 0), (25, 1), (18, 2), (12, 3), (6, 5)))):
        writer.constraint(constraints, f"con{number}")
    writer.defaults(configuration)
    return root


class _Writer:
    def __init__(self, plan: Plan, dice: Dice) -> None:
        self.plan = plan
        self.dice = dice

    # --- name-value sets and rules -------------------------------------------------------------------

    def nvset(self, parent: Element, tag: str, identity: str, pairs: Pairs) -> None:
        pairs = list(pairs)
        if not pairs:
            return
        owner = SubElement(parent, tag, {"id": identity})
        for name, value in pairs:
            SubElement(owner, "nvpair", {"id": f"{identity}-{name}".replace("#", "."), "name": name, "value": value})

    def maybe(self, percent: int, name: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(name, self.dice.pick(values))] if self.dice.chance(percent) else []

    def rule(self, parent: Element, identity: str, extra: dict[str, str]) -> None:
        dice = self.dice
        rule = SubElement(parent, "rule", {"id": identity, **extra})
        if dice.chance(30):
            rule.set("boolean-op", dice.pick(("or", "and")))
        for number in range(dice.weighted(((70, 1), (25, 2)))):
            if dice.chance(12):
                self.date_expression(rule, f"{identity}-date{number}")
            elif dice.chance(10):
                inner = SubElement(rule, "rule", {"id": f"{identity}-inner{number}", "boolean-op": "or", "score": "0"})
                self.expression(inner, f"{identity}-inner{number}-expr")
            else:
                self.expression(rule, f"{identity}-expr{number}")

    def expression(self, rule: Element, identity: str) -> None:
        dice = self.dice
        attribute = dice.pick(("site", "#uname", "rank", "missing", "#kind", "#id", "#is_dc"))
        operation = dice.pick(("eq", "ne", "defined", "not_defined", "gt", "lt", "gte", "lte"))
        given = {"id": identity, "attribute": attribute, "operation": operation}
        if "defined" not in operation:
            given["value"] = {
                "site": dice.pick(SITES),
                "#uname": dice.pick(self.plan.nodes).name,
                "rank": dice.pick(("5", "10", "7", "-1")),
                "#id": dice.pick(self.plan.nodes).id,
                "#is_dc": dice.pick(("true", "false")),
                "#kind": dice.pick(("cluster", "remote")),
            }.get(attribute, "x")
            if dice.chance(20):
                given["type"] = dice.pick(("string", "number", "integer", "version"))
        SubElement(rule, "expression", given)

    def date_expression(self, rule: Element, identity: str) -> None:
        operation = self.dice.pick(("gt", "lt", "in_range", "date_spec"))
        day = self.dice.pick(("2025-06-01", "2025-07-01", "2024-01-01 10:00:00Z"))
        element = SubElement(rule, "date_expression", {"id": identity, "operation": operation})
        if operation in ("gt", "in_range"):
            element.set("start", day)
        if operation == "lt":
            element.set("end", day)
        if operation == "in_range":
            if self.dice.chance(50):
                element.set("end", "2025-12-31")
            else:
                SubElement(element, "duration", {"id": f"{identity}-for", "months": self.dice.pick(("1", "24"))})
        if operation == "date_spec":
            spec = self.dice.pick((("hours", "9-17"), ("weekdays", "1-5"), ("months", "6"), ("years", "2024")))
            SubElement(element, "date_spec", {"id": f"{identity}-spec", spec[0]: spec[1]})

    # --- options and nodes -----------------------------------------------------------------------------

    def options(self, parent: Element) -> None:
        maybe, plan = self.maybe, self.plan
        pairs = [("stonith-enabled", "true" if plan.fencing else "false")]
        if plan.fencing and self.dice.chance(15):
            pairs = []
        pairs += maybe(28, "no-quorum-policy", ("stop", "ignore", "freeze", "demote", "suicide"))
        pairs += maybe(7, "symmetric-cluster", ("false", "true"))
        pairs += maybe(4, "maintenance-mode", ("true",))
        pairs += maybe(5, "stonith-action", ("off", "reboot"))
        pairs += maybe(6, "startup-fencing", ("false",))
        pairs += maybe(8, "concurrent-fencing", ("true",))
        pairs += maybe(5, "stop-all-resources", ("true",))
        pairs += maybe(6, "start-failure-is-fatal", ("false",))
        pairs += maybe(6, "stop-orphan-resources", ("false",))
        pairs += maybe(6, "stop-orphan-actions", ("false",))
        pairs += maybe(4, "enable-startup-probes", ("false",))
        pairs += maybe(5, "node-health-strategy", ("migrate-on-red", "only-green", "progressive", "custom"))
        pairs += maybe(4, "priority-fencing-delay", ("30s",))
        pairs += maybe(4, "shutdown-lock", ("true",))
        pairs += maybe(3, "remove-after-stop", ("true",))
        if plan.utilization:
            pairs += [("placement-strategy", self.dice.pick(("utilization", "balanced", "minimal")))]
        self.nvset(parent, "cluster_property_set", "options", pairs)

    def node(self, parent: Element, node: PlannedNode) -> None:
        maybe = self.maybe
        element = SubElement(parent, "node", {"id": node.id, "uname": node.name})
        if node.kind != "member":
            element.set("type", "remote")
        pairs = maybe(6, "standby", ("on", "true", "off"))
        pairs += maybe(4, "maintenance", ("true",))
        pairs += maybe(50, "site", SITES)
        pairs += maybe(20, "rank", ("5", "10", "-7", "7.5"))
        pairs += maybe(4, "#health-disk", ("red", "yellow", "green", "-10"))
        self.nvset(element, "instance_attributes", f"{node.name}-attributes", pairs)
        if self.plan.utilization:
            capacity = [("cpu", self.dice.pick(("2", "4", "8"))), *maybe(50, "memory", ("1024", "4096"))]
            self.nvset(element, "utilization", f"{node.name}-utilization", capacity)

    def defaults(self, configuration: Element) -> None:
        dice = self.dice
        if dice.chance(20):
            parent = SubElement(configuration, "rsc_defaults")
            pairs = self.maybe(60, "resource-stickiness", ("100", "1", "INFINITY", "-1"))
            pairs += self.maybe(25, "migration-threshold", ("1", "2"))
            pairs += self.maybe(20, "failure-timeout", ("60s", "10min"))
            pairs += self.maybe(5, "is-managed", ("false",))
            self.nvset(parent, "meta_attributes", "rsc-defaults", pairs)
        if dice.chance(12):
            parent = SubElement(configuration, "op_defaults")
            pairs = self.maybe(60, "timeout", ("40s", "5min"))
            pairs += self.maybe(40, "on-fail", ("ignore", "block", "stop", "restart", "standby"))
            self.nvset(parent, "meta_attributes", "op-defaults", pairs)
            if len(parent) and dice.chance(40):
                rule = Element("rule", {"id": "op-defaults-rule", "score": "INFINITY"})
                expression = {"id": "op-defaults-expr", "name": dice.pick(("monitor", "start"))}
                SubElement(rule, "op_expression", expression)
                parent[0].insert(0, rule)

    # --- resources --------------------------------------------------------------------------------------

    def resource(self, parent: Element, resource: PlannedResource) -> None:
        if resource.clone:
            parent = SubElement(parent, "clone", {"id": resource.clone})
            self.nvset(parent, "meta_attributes", f"{resource.clone}-meta", self.clone_meta(resource))
        if resource.group:
            parent = SubElement(parent, "group", {"id": resource.group})
            pairs = self.meta(4) + self.maybe(3, "ordered", ("false",)) + self.maybe(3, "collocated", ("false",))
            self.nvset(parent, "meta_attributes", f"{resource.group}-meta", pairs)
        for member in resource.members:
            self.primitive(parent, member)

    def clone_meta(self, resource: PlannedResource) -> list[tuple[str, str]]:
        maybe = self.maybe
        pairs = [("promotable", "true")] if resource.promotable else []
        pairs += [("globally-unique", "true")] if resource.unique else []
        pairs += [("clone-max", str(resource.clone_max))] if resource.clone_max is not None else []
        pairs += [("clone-node-max", str(resource.node_max))] if resource.node_max > 1 else []
        if resource.promotable:
            pairs += maybe(20, "promoted-max", ("2", "1", "3", "0"))
            pairs += maybe(5, "promoted-node-max", ("2",))
        pairs += maybe(45, "interleave", ("true", "false"))
        pairs += maybe(15, "ordered", ("true",))
        pairs += maybe(15, "notify", ("true",))
        pairs += maybe(8, "clone-min", ("1", "2"))
        return pairs + self.meta(4)

    def meta(self, percent: int) -> list[tuple[str, str]]:
        maybe = self.maybe
        pairs = maybe(percent + 6, "resource-stickiness", ("100", "1", "INFINITY", "0", "-5"))
        pairs += maybe(percent, "priority", ("10", "5", "-5", "INFINITY"))
        pairs += maybe(percent + 3, "target-role", ("Stopped", "Started", "Unpromoted", "Promoted"))
        pairs += maybe(percent, "is-managed", ("false",))
        pairs += maybe(percent - 2, "maintenance", ("true",))
        pairs += maybe(percent + 3, "migration-threshold", ("1", "2", "3", "INFINITY"))
        pairs += maybe(percent + 1, "failure-timeout", ("60s", "10min", "1h"))
        pairs += maybe(percent, "multiple-active", ("block", "stop_only", "stop_start", "stop_unexpected"))
        pairs += maybe(percent, "requires", ("nothing", "quorum", "fencing"))
        pairs += maybe(percent - 1, "critical", ("false",))
        pairs += maybe(percent - 2, "allow-unhealthy-nodes", ("true",))
        return pairs

    def primitive(self, parent: Element, primitive: PlannedPrimitive) -> None:
        kind = {"class": "ocf", "provider": "pacemaker", "type": "Dummy"}
        if primitive.fence_device:
            kind = {"class": "stonith", "type": FENCE_AGENT}
        elif primitive.remote:
            kind["type"] = "remote"
        elif primitive.template:
            kind = {"template": primitive.template}
        element = SubElement(parent, "primitive", {"id": primitive.id, **kind})
        self.nvset(element, "instance_attributes", f"{primitive.id}-params", primitive.params.items())
        meta = self.meta(0 if primitive.fence_device else 5)
        meta += [("allow-migrate", "true")] if primitive.allow_migrate else []
        meta += [("remote-node", primitive.guest)] if primitive.guest else []
        meta += [("provides", "unfencing")] if primitive.fence_device and self.plan.unfencing else []
        self.nvset(element, "meta_attributes", f"{primitive.id}-meta", meta)
        operations = Element("operations")
        for interval_ms, role in primitive.monitors:
            self.monitor(operations, primitive.id, interval_ms, role)
        for name in ("start", "stop", "promote", "demote"):
            if self.dice.chance(8):
                op = SubElement(operations, "op", {"id": f"{primitive.id}-{name}", "name": name, "interval": "0"})
                self.op_attributes(op, name)
        if len(operations):
            element.append(operations)
        if self.plan.utilization and not primitive.template and self.dice.chance(75):
            needs = [("cpu", self.dice.pick(("1", "2", "3"))), *self.maybe(40, "memory", ("512", "2048"))]
            self.nvset(element, "utilization", f"{primitive.id}-utilization", needs)

    def monitor(self, operations: Element, owner: str, interval_ms: int, role: str) -> None:
        given = {"id": f"{owner}-monitor-{interval_ms}", "name": "monitor", "interval": f"{interval_ms // 1000}s"}
        op = SubElement(operations, "op", given)
        if role:
            op.set("role", role)
        self.op_attributes(op, "monitor")

    def op_attributes(self, op: Element, name: str) -> None:
        dice = self.dice
        if dice.chance(20):
            op.set("timeout", dice.pick(("30s", "2min")))
        if dice.chance(3):
            op.set("enabled", "false")
        if dice.chance(40 if name != "monitor" else 22):
            usual = ("restart", "ignore", "block", "stop", "standby", "fence", "demote")
            op.set("on-fail", dice.pick(("ignore", "block", "fence", "stop", "standby") if name == "stop" else usual))

    # --- constraints ------------------------------------------------------------------------------------

    def constraint(self, parent: Element, identity: str) -> None:
        kind = self.dice.weighted(((34, "location"), (32, "colocation"), (32, "order")))
        if self.plan.tickets and self.dice.chance(45):
            kind = "ticket"
        getattr(self, kind)(parent, identity)

    def reference(self) -> str:
        names = self.plan.references()
        return self.dice.pick(names)

    def location(self, parent: Element, identity: str) -> None:
        dice = self.dice
        element = SubElement(parent, "rsc_location", {"id": identity})
        if dice.chance(6):
            element.set("rsc-pattern", dice.pick(("^rsc[12]", "rsc", "^clone")))
        elif dice.chance(6):
            self.resource_set(element, f"{identity}-set", with_action=False)
        else:
            element.set("rsc", self.reference())
        by_set = not (element.get("rsc") or element.get("rsc-pattern"))
        if dice.chance(25) and not by_set and self.plan.promotables():
            element.set("role", dice.pick(("Promoted", "Started", "Unpromoted")))
        if dice.chance(28):
            extra = {"score-attribute": "rank"} if dice.chance(15) else {"score": dice.pick(SCORES)}
            if dice.chance(15):
                extra["role"] = dice.pick(("Promoted", "Started", "Unpromoted"))
            self.rule(element, f"{identity}-rule", extra)
        else:
            element.set("score", dice.pick(SCORES))
            element.set("node", dice.pick(self.plan.nodes).name)
        if dice.chance(8):
            element.set("resource-discovery", dice.pick(("never", "exclusive", "always")))

    def colocation(self, parent: Element, identity: str) -> None:
        dice = self.dice
        element = SubElement(parent, "rsc_colocation", {"id": identity, "score": dice.pick(SCORES)})
        if dice.chance(50):
            element.set("score", dice.pick(("INFINITY", "-INFINITY")))
        if dice.chance(7):
            element.set("influence", dice.pick(("false", "true")))
        if dice.chance(14):
            self.sets(element, identity, with_action=False)
            return
        pair = dice.some(self.plan.references(), 2, 2)
        if len(pair) < 2:
            pair = pair * 2
        element.set("rsc", pair[0])
        element.set("with-rsc", pair[1])
        promotables = self.plan.promotables()
        for side, name in (("rsc-role", pair[0]), ("with-rsc-role", pair[1])):
            if dice.chance(45 if name in promotables else 3):
                element.set(side, dice.pick(("Promoted", "Started", "Unpromoted", "Stopped")))
        if dice.chance(10):
            element.set("node-attribute", dice.pick(("site", "missing", "#uname")))

    def order(self, parent: Element, identity: str) -> None:
        dice = self.dice
        element = SubElement(parent, "rsc_order", {"id": identity})
        if dice.chance(15):
            element.set("symmetrical", dice.pick(("false", "true")))
        if dice.chance(8):
            element.set("require-all", "false")
        if dice.chance(45):
            element.set("kind", dice.pick(KINDS))
        elif dice.chance(5):
            element.set("score", dice.pick(("0", "INFINITY")))
        if dice.chance(18):
            self.sets(element, identity, with_action=True)
            return
        pair = dice.some(self.plan.references(), 2, 2)
        if len(pair) < 2:
            pair = pair * 2
        element.set("first", pair[0])
        element.set("then", pair[1])
        promotables = self.plan.promotables()
        for side, name in (("first-action", pair[0]), ("then-action", pair[1])):
            if dice.chance(55 if name in promotables else 14):
                element.set(
                    side,
                    dice.pick(("start", "promote", "stop", "demote") if name in promotables else ("start", "stop")),
                )

    def sets(self, element: Element, identity: str, *, with_action: bool) -> None:
        for number in range(self.dice.weighted(((40, 1), (50, 2), (10, 3)))):
            self.resource_set(element, f"{identity}-set{number}", with_action=with_action)

    def resource_set(self, element: Element, identity: str, *, with_action: bool) -> None:
        dice = self.dice
        owner = SubElement(element, "resource_set", {"id": identity})
        if dice.chance(30):
            owner.set("sequential", dice.pick(("false", "true")))
        if dice.chance(15 if with_action else 4):
            owner.set("require-all", "false")
        if with_action and dice.chance(18):
            owner.set("action", dice.pick(ACTIONS))
        if not with_action and dice.chance(12):
            owner.set("role", dice.pick(ROLES))
        for name in dice.some(self.plan.references(), 1, 3):
            SubElement(owner, "resource_ref", {"id": name})

    def ticket(self, parent: Element, identity: str) -> None:
        dice = self.dice
        element = SubElement(parent, "rsc_ticket", {"id": identity, "ticket": self.plan.tickets[0]})
        if dice.chance(12):
            self.resource_set(element, f"{identity}-set", with_action=False)
        else:
            element.set("rsc", self.reference())
            if dice.chance(40):
                element.set("rsc-role", dice.pick(("Promoted", "Started", "Unpromoted")))
        if dice.chance(75):
            element.set("loss-policy", dice.pick(("stop", "demote", "fence", "freeze")))
