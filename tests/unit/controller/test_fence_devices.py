"""Fence devices in the leader's hands: wrong ones are left out with a sentence, registered ones are asked regularly."""

from fixtures.waiting import wait_until

from hamgr.clusterfile.load import load_yaml
from hamgr.controller.fencing.device_watch import EVERY_S, DeviceWatch
from hamgr.controller.fencing.levels import fencing_config
from hamgr.fencer.topology import Level

CLUSTER = """
cluster: t
namespace: shop
nodes: [n1]
fencing:
  devices:
    - {id: good, agent: fence_x, params: {ip: 10.0.0.9}, params-from: secret/x}
    - {id: bad, agent: fence_x, params: {pcmk_host_map: n1}}
  levels: [volume, bad, good]
"""


def test_a_device_with_wrong_settings_is_left_out_and_the_rest_stands():
    cluster = load_yaml(CLUSTER, "cluster.yaml", {})
    config, troubles = fencing_config(cluster.fencing, {"n1": {}}, cluster.namespace)
    assert list(config.devices) == ["good"]
    assert config.secrets_namespace == "shop"
    assert [level.level for level in config.levels_for("n1")] == [Level.VOLUME, Level.NODE, Level.NODE]
    assert troubles == ["fence device bad: pcmk_host_map has 'n1': write NODE:PLUG;NODE:PLUG"]


SHARED = """
cluster: t
nodes: [n1, n2, n3]
fencing:
  devices:
    - {id: pdu, agent: fence_x, params: {ip: 10.0.0.9, pcmk_host_map: "n1:7;n2:8"}}
    - {id: board, agent: fence_y, params: {ip: 10.0.0.1}, nodes: [n1]}
    - {id: any, agent: fence_z}
  levels: [node]
"""


def test_a_node_is_fenced_by_the_devices_that_are_for_it():
    cluster = load_yaml(SHARED, "cluster.yaml", {})
    config, _ = fencing_config(cluster.fencing, {name: {} for name in ("n1", "n2", "n3")}, "default")
    devices = {name: config.levels_for(name)[0].devices for name in ("n1", "n2", "n3")}
    assert devices == {"n1": ("pdu", "board", "any"), "n2": ("pdu", "any"), "n3": ("any",)}
    assert config.devices["board"].nodes == ("n1",)


def test_devices_are_asked_at_once_and_again_after_a_while():
    now, asked = [0.0], []

    def monitor():
        asked.append(now[0])
        return {"rack": "" if len(asked) == 1 else "it is dark"}

    watch = DeviceWatch(monitor, lambda: now[0])
    for now[0] in (0.0, 1.0, EVERY_S - 1):
        watch.look()
    wait_until(lambda: watch.found() == {"rack": ""})
    now[0] = EVERY_S + 1
    watch.look()
    wait_until(lambda: watch.found() == {"rack": "it is dark"})
    assert asked == [0.0, EVERY_S + 1]
    watch.close()


def test_a_failure_of_the_asking_itself_is_not_the_end_of_it():
    now, asked = [0.0], []

    def monitor():
        asked.append(now[0])
        raise RuntimeError("odd")

    watch = DeviceWatch(monitor, lambda: now[0])
    watch.look()
    wait_until(lambda: len(asked) == 1)

    def again():
        now[0] += EVERY_S + 1
        watch.look()
        return len(asked) == 2

    wait_until(again)
    watch.close()
