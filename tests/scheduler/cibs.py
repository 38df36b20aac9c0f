"""Small CIBs for the golden tests, written as the differences from a common three-node cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

UUID = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
NODES = ("n1", "n2", "n3")
# Of no parameters; of recurring operations with the default timeout.
_DIGESTS = ("f2317cad3d54cec5d7d7aa7d0bf35cf8", "4811cef7f7f94e3a35a70be7916cb2fd")


@dataclass
class Case:
    """A cluster and what is to be done about it, as Pacemaker 2.1.5 answers."""

    name: str
    resources: str
    expected: set[str]
    constraints: str = ""
    options: dict[str, str] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)  # resource: node on which it runs
    ops: tuple[tuple[str, str, str, int, int], ...] = ()  # (node, resource, task, interval, rc), after the start
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)  # transient, by node
    lost: tuple[str, ...] = ()
    quorum: bool = True


def primitive(name: str, meta: str = "", ops: str = "", params: str = "") -> str:
    pairs = "".join(
        f'<nvpair id="{name}-m-{i}" name="{p.split("=")[0]}" value="{p.split("=")[1]}"/>'
        for i, p in enumerate(meta.split())
    )
    meta_xml = f'<meta_attributes id="{name}-m">{pairs}</meta_attributes>' if pairs else ""
    ops_xml = "".join(_op(name, index, text) for index, text in enumerate(ops.split(";")) if text)
    ops_xml = f"<operations>{ops_xml}</operations>" if ops_xml else ""
    return (
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy">{meta_xml}{ops_xml}{params}</primitive>'
    )


def _op(name: str, index: int, text: str) -> str:
    task, interval, *rest = text.split(",")
    attributes = " ".join(f'{a.split("=")[0]}="{a.split("=")[1]}"' for a in rest)
    return f'<op id="{name}-op-{index}" name="{task}" interval="{interval}" {attributes}/>'


def group(name: str, *members: str) -> str:
    return f'<group id="{name}">{"".join(members)}</group>'


def clone(name: str, member: str, meta: str = "") -> str:
    pairs = "".join(
        f'<nvpair id="{name}-m-{i}" name="{p.split("=")[0]}" value="{p.split("=")[1]}"/>'
        for i, p in enumerate(meta.split())
    )
    return f'<clone id="{name}"><meta_attributes id="{name}-m">{pairs}</meta_attributes>{member}</clone>'


def fence_device(name: str = "fencer") -> str:
    return f'<primitive id="{name}" class="stonith" type="fence_dummy"/>'


def _record(case: Case, node: str, resource: str, task: str, interval: int, rc: int, call: int, target: int) -> str:
    status = 0 if rc == target else 4
    key = f"1:-1:{target}:{UUID}"
    entry = f"{resource}_last_failure_0" if rc != target else f"{resource}_{task}_{interval}"
    return (
        f'<lrm_rsc_op id="{entry}" operation_key="{resource}_{task}_{interval}" operation="{task}" '
        f'crm_feature_set="3.16.2" transition-key="{key}" transition-magic="{status}:{rc};{key}" '
        f'call-id="{call}" rc-code="{rc}" op-status="{status}" interval="{interval}" '
        f'op-digest="{_DIGESTS[bool(interval)]}" last-rc-change="1600000000"/>'
    )


def _standard(resource: str) -> str:
    return (
        'class="stonith" type="fence_dummy"'
        if resource == "fencer"
        else 'class="ocf" provider="pacemaker" type="Dummy"'
    )


def _state(case: Case, number: int, node: str, names: list[str]) -> str:
    histories = []
    for resource in names:
        running = case.active.get(resource, "").split(",")
        on_this = node in running
        records = [_record(case, node, resource, "monitor", 0, 7, 1, 7)]
        if on_this:
            records.append(_record(case, node, resource, "start", 0, 0, 2, 0))
        call = 3
        for where, which, task, interval, rc in case.ops:
            if (where, which) == (node, resource):
                records.append(_record(case, node, resource, task, interval, rc, call, 0))
                call += 1
        histories.append(f'<lrm_resource id="{resource}" {_standard(resource)}>{"".join(records)}</lrm_resource>')
    up = node not in case.lost
    attributes = "".join(
        f'<nvpair id="{node}-{i}" name="{k}" value="{v}"/>'
        for i, (k, v) in enumerate(case.attributes.get(node, {}).items())
    )
    return (
        f'<node_state id="{number}" uname="{node}" in_ccm="{str(up).lower()}" crmd="{"online" if up else "offline"}" '
        f'join="{"member" if up else "down"}" expected="member">'
        f'<transient_attributes id="{number}"><instance_attributes id="s-{number}">{attributes}</instance_attributes>'
        f"</transient_attributes>"
        f'<lrm id="{number}"><lrm_resources>{"".join(histories)}</lrm_resources></lrm></node_state>'
    )


def xml(case: Case, probed: list[str]) -> str:
    """The CIB of a case in which the resources ``probed`` are known on all nodes."""
    options = {"stonith-enabled": "false", **case.options}
    pairs = "".join(f'<nvpair id="o-{k}" name="{k}" value="{v}"/>' for k, v in options.items())
    nodes = "".join(f'<node id="{i}" uname="{n}"/>' for i, n in enumerate(NODES, 1))
    states = "".join(_state(case, i, n, probed) for i, n in enumerate(NODES, 1))
    return (
        f'<cib crm_feature_set="3.16.2" validate-with="pacemaker-3.9" epoch="1" num_updates="1" admin_epoch="1" '
        f'have-quorum="{int(case.quorum)}" dc-uuid="1">'
        f'<configuration><crm_config><cluster_property_set id="o">{pairs}</cluster_property_set></crm_config>'
        f"<nodes>{nodes}</nodes><resources>{case.resources}</resources>"
        f"<constraints>{case.constraints}</constraints></configuration><status>{states}</status></cib>"
    )
