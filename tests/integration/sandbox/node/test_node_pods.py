"""What a node agent does with pods, seen through the API and in the processes themselves."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from typing import Any

import pytest
from fixtures.node_cluster import Cluster, container
from fixtures.waiting import eventually

Json = dict[str, Any]
FOREVER = 'trap "echo bye; exit 0" TERM; echo begun; while :; do sleep 1 & wait; done'
ROOT = os.geteuid() == 0
STUBBORN = 'trap "echo no" TERM; while :; do sleep 1 & wait; done'


def state(status: Json) -> Json:
    return dict((status.get("containerStatuses") or [{}])[0].get("state") or {})


def restarts(status: Json) -> int:
    return int((status.get("containerStatuses") or [{}])[0].get("restartCount", 0))


def test_a_pod_runs_with_its_variables_files_and_name(node: Cluster) -> None:
    namespace = "/api/v1/namespaces/default"
    node.api("POST", f"{namespace}/secrets", {"metadata": {"name": "s"}, "stringData": {"pw": "geheim"}})
    node.api("POST", f"{namespace}/configmaps", {"metadata": {"name": "c"}, "data": {"level": "3"}})
    script = 'echo "$PW $NODE $(hostname) $(cat /etc/conf/level) $(stat -c %g /scratch) $(id -G)" >/scratch/out; '
    script += "cat /scratch/out; "
    node.create(
        "p",
        {
            "securityContext": {"fsGroup": 4321},
            "containers": [
                container(
                    "sh",
                    "-c",
                    script + FOREVER,
                    env=[
                        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    volumeMounts=[
                        {"name": "conf", "mountPath": "/etc/conf"},
                        {"name": "scratch", "mountPath": "/scratch"},
                    ],
                )
            ],
            "volumes": [{"name": "conf", "configMap": {"name": "c"}}, {"name": "scratch", "emptyDir": {}}],
        },
    )
    status = node.await_ready("p")
    assert (status["phase"], restarts(status)) == ("Running", 0)
    eventually(lambda: "begun" in node.log("p", "c"), "the container has begun")
    hostname, group, groups = (
        ("p", "4321", "0 4321") if ROOT else (socket.gethostname(), f"{os.getgid()}", f"{os.getgid()}")
    )
    assert node.log("p", "c").splitlines()[0] == f"geheim n1 {hostname} 3 {group} {groups}"
    assert node.api.reasons("p") >= {"Pulled", "Created", "Started"}


def test_init_containers_come_first_and_share_volumes(node: Cluster) -> None:
    mount = [{"name": "v", "mountPath": "/shared"}]
    first = {**container("sh", "-c", "echo one >/shared/f", volumeMounts=mount), "name": "i"}
    spec = {
        "initContainers": [first],
        "containers": [container("cat", "/shared/f", volumeMounts=mount)],
        "restartPolicy": "Never",
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
    node.create("p", spec)
    status = node.await_status("p", lambda s: s.get("phase") == "Succeeded", "Succeeded")
    assert node.log("p", "c") == "one\n"
    assert status["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"


def test_a_killed_container_restarts_in_place_then_backs_off(node: Cluster) -> None:
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    address = node.await_ready("p")["podIP"]
    node.kill("p")
    status = node.await_status("p", lambda s: restarts(s) == 1 and "running" in state(s), "restarted")
    ended = status["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], status["podIP"]) == (137, "Error", address)
    node.kill("p")
    status = node.await_status("p", lambda s: "waiting" in state(s), "backing off")
    assert state(status)["waiting"]["reason"] == "CrashLoopBackOff"
    assert state(status)["waiting"]["message"].startswith("back-off 10s restarting failed container=c pod=p_default(")
    assert status["phase"] == "Running"
    assert "BackOff" in node.api.reasons("p")


def test_a_graceful_deletion_lets_the_container_end_and_then_removes_the_object(node: Cluster) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo farewell >/proc/$(cat /v/pid)/fd/1"]}}}
    mount = [{"name": "v", "mountPath": "/v"}]
    made = container("sh", "-c", "echo $$$$ >/v/pid; " + FOREVER, lifecycle=hook, volumeMounts=mount)
    node.create("p", {"containers": [made], "volumes": [{"name": "v", "emptyDir": {}}]})
    node.await_ready("p")
    eventually(lambda: "begun" in node.log("p", "c"), "the container has begun")
    folder = next(node.kubelet("n1").glob("logs/default_p_*/c"))
    log = (folder / "0.log").open()
    node.delete("p")
    node.await_gone("p")
    assert log.read().splitlines() == ["begun", "farewell", "bye"]
    eventually(lambda: not folder.exists(), "its logs are gone")
    assert node.running() == []
    assert "Killing" in node.api.reasons("p")


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace_period(node: Cluster) -> None:
    node.create("p", {"containers": [container("sh", "-c", STUBBORN)]})
    node.await_ready("p")
    node.delete("p", grace_s=1)
    node.await_gone("p")
    assert node.running() == []


def test_a_forced_deletion_frees_the_name_at_once_and_the_container_dies_all_the_same(node: Cluster) -> None:
    first = node.create("p", {"containers": [container("sh", "-c", STUBBORN)]})
    node.await_ready("p")
    node.delete("p", grace_s=0)
    assert node.api.pod("p") is None
    assert node.running() == ["p"]
    second = node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    node.await_ready("p")
    eventually(lambda: node.running() == ["p"], "only the new pod runs")


def test_readiness_follows_its_probe_and_liveness_restarts(node: Cluster) -> None:
    often = {"periodSeconds": 1, "failureThreshold": 1}
    probes = {
        "readinessProbe": {"exec": {"command": ["test", "-e", "/v/ready"]}, **often},
        "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/v/sick"]}, **often},
    }
    script = "rm -f /v/*; sleep 1; touch /v/ready; sleep 2; touch /v/sick; exec sleep 1000"
    made = container("sh", "-c", script, volumeMounts=[{"name": "v", "mountPath": "/v"}], **probes)
    volumes = [{"name": "v", "emptyDir": {}}]
    node.create("p", {"terminationGracePeriodSeconds": 0, "containers": [made], "volumes": volumes})
    node.await_status("p", lambda s: "running" in state(s), "running")
    node.await_ready("p")
    node.await_status("p", lambda s: restarts(s) == 1, "restarted by its liveness probe")
    told = {event["message"] for event in node.api.events("p")}
    assert "Container c failed liveness probe, will be restarted" in told
    assert "Readiness probe failed: " in told


@pytest.mark.parametrize("handler", ["tcpSocket", "httpGet"])
def test_probes_over_the_network(node: Cluster, handler: str) -> None:
    server = 'exec python3 -m http.server --bind "$HAMGR_BIND_ADDRESS" 8080'
    fields: Json = {handler: {"port": "web"}, "periodSeconds": 1}
    ports = [{"name": "web", "containerPort": 8080}]
    node.create("p", {"containers": [container("sh", "-c", server, readinessProbe=fields, ports=ports)]})
    node.await_ready("p")
    assert any("refused" in event["message"] or "annot connect" in event["message"] for event in node.api.events("p"))


def test_what_cannot_be_started_says_why(node: Cluster) -> None:
    node.create("no-image", {"containers": [{"name": "c", "image": "example.org/nothing:1"}]})
    node.create("no-program", {"containers": [container("/no/such/program")]})
    secret = [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]
    node.create("no-secret", {"containers": [container("true", env=secret)]})

    def reason(status: Json) -> str:
        return str((state(status).get("waiting") or state(status).get("terminated") or {}).get("reason"))

    node.await_status("no-image", lambda s: reason(s) == "ErrImagePull", "ErrImagePull")
    node.await_status("no-secret", lambda s: reason(s) == "CreateContainerConfigError", "a missing Secret")
    status = node.await_status("no-program", lambda s: reason(s) == "CrashLoopBackOff", "a missing program")
    ended = status["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"] == 'exec: "/no/such/program": no such file or directory'
    assert 'Error: secret "none" not found' in {event["message"] for event in node.api.events("no-secret")}


def test_containers_outlive_their_agent_and_are_found_again(node: Cluster) -> None:
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.create("gone", {"containers": [container("sh", "-c", FOREVER)]})
    before = node.await_ready("p")
    node.await_ready("gone")
    node.stop_agent("n1")
    node.delete("gone", grace_s=0)
    assert sorted(node.running()) == ["gone", "p"]
    node.resume_agent("n1")
    eventually(lambda: node.running() == ["p"], "the pod that was deleted meanwhile has ended")
    after = node.await_ready("p")
    assert after["containerStatuses"] == before["containerStatuses"]
    node.delete("p")
    node.await_gone("p")


def test_a_node_that_crashed_starts_its_pods_again(node: Cluster) -> None:
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.create("once", {"restartPolicy": "Never", "containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")
    node.await_ready("once")
    boot_id = node.boot_id("n1")
    node.crash("n1")
    node.start_agent("n1")
    status = node.await_status("p", lambda s: restarts(s) == 1 and "running" in state(s), "running again")
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 255
    node.await_status("once", lambda s: s.get("phase") == "Failed", "Failed, since it may not run again")
    assert "SandboxChanged" in node.api.reasons("p")
    eventually(lambda: node.boot_id("n1") != boot_id, "a new boot id")


def test_logs_over_http(node: Cluster) -> None:
    script = "for i in 1 2 3; do echo line $i; done; " + FOREVER
    node.create("p", {"containers": [container("sh", "-c", script)]})
    node.await_ready("p")
    eventually(lambda: "begun" in node.log("p", "c"), "the container has written")
    found = node.api("GET", "/api/v1/nodes/n1")
    assert found is not None
    base = f"http://127.0.0.1:{found['status']['daemonEndpoints']['kubeletEndpoint']['Port']}"

    def get(path: str) -> str:
        with urllib.request.urlopen(base + path, timeout=10) as response:
            return str(response.read().decode())

    assert get("/healthz") == "ok"
    assert get("/containerLogs/default/p/c?tailLines=2") == "line 3\nbegun\n"
    with urllib.request.urlopen(base + "/containerLogs/default/p/c?follow=true&tailLines=1", timeout=10) as response:
        assert response.readline() == b"begun\n"
        node.kill("p")
        eventually(lambda: len(list(node.kubelet("n1").glob("logs/default_p_*/c/*.log"))) == 2, "a second run")
        assert response.read() == b""
    assert "line 1" in get("/containerLogs/default/p/c?previous=true")


def test_a_foreign_change_of_the_status_is_put_right(node: Cluster) -> None:
    """The node lifecycle controller makes the pods of a silent node unready; its agent, back again, knows better."""
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")
    unready = [{"type": "Ready", "status": "False"}]
    node.api(
        "PATCH",
        "/api/v1/namespaces/default/pods/p/status",
        {"status": {"conditions": unready}},
        "application/strategic-merge-patch+json",
    )
    node.await_ready("p")


def test_the_lease_is_renewed_and_the_driver_registered(cluster: Cluster) -> None:
    zone = "topology.kubernetes.io/zone"
    cluster.start_agent("n1", "--lease-renew", "200ms", "--max-pods", "7", "--node-labels", f"{zone}=a")
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"

    def renewed() -> str:
        return str((cluster.api("GET", path) or {}).get("spec", {}).get("renewTime", ""))

    first = eventually(renewed, "a lease")
    eventually(lambda: renewed() != first, "a renewed lease")
    drivers = cluster.api("GET", "/apis/storage.k8s.io/v1/csinodes/n1")
    assert drivers is not None
    found = [(each["name"], each["topologyKeys"]) for each in drivers["spec"]["drivers"]]
    assert found == [("disk.sandbox.hamgr.io", [zone])]
    node = cluster.api("GET", "/api/v1/nodes/n1")
    assert node is not None
    assert node["metadata"]["labels"][zone] == "a"
    assert node["status"]["allocatable"]["pods"] == "7"


def test_the_runtime_takes_its_containers_with_it(node: Cluster) -> None:
    """Nothing may run that nobody watches: if the runtime dies, so do its containers, and they start again."""
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")
    node.kill_runtime("n1")
    node.await_status("p", lambda s: restarts(s) == 1 and "running" in state(s), "running again")


def test_a_pod_that_never_got_its_volume_is_deleted_at_once(node: Cluster) -> None:
    node.disk("d")
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "d"}}
    node.create("p", {"containers": [container("true")], "volumes": [volume]})
    node.await_status("p", lambda s: state(s).get("waiting", {}).get("reason") == "ContainerCreating", "waiting")
    node.delete("p")
    node.await_gone("p")


def test_events_are_counted_not_repeated(node: Cluster) -> None:
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")
    node.kill("p")
    node.await_status("p", lambda s: restarts(s) == 1, "restarted")
    started = eventually(
        lambda: [e for e in node.api.events("p") if e["reason"] == "Started" and e["count"] == 2], "a counted event"
    )
    assert len(started) == 1
    assert started[0]["involvedObject"]["fieldPath"] == "spec.containers{c}"
    assert json.dumps(started[0]["source"]) == '{"component": "kubelet", "host": "n1"}'


def test_a_pod_that_does_not_fit_is_rejected_and_says_why(node: Cluster) -> None:
    hungry = container("sh", "-c", FOREVER, resources={"requests": {"cpu": "1000"}})
    node.create("p", {"containers": [hungry]})
    status = node.await_status("p", lambda s: s.get("phase") == "Failed", "Failed")
    assert status["reason"] == "OutOfcpu"
    told = f"requested: 1000000, used: 0, capacity: {(os.cpu_count() or 1) * 1000}"
    assert status["message"] == f"Pod was rejected: Node didn't have enough resource: cpu, {told}"
    assert set(status) == {"observedGeneration", "phase", "qosClass", "reason", "message", "startTime"}
    eventually(lambda: "OutOfcpu" in node.api.reasons("p"), "the event")
    assert node.in_use("n1") == []
    node.delete("p")  # there is nothing to stop: gone at once
    node.await_gone("p")
    node.create("p", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")


def test_an_agent_that_starts_anew_ends_what_its_node_does_not_take_any_more(node: Cluster) -> None:
    """The verdict comes once the container has ended: what says Failed writes no more."""
    node.create("p", {"containers": [container("sh", "-c", STUBBORN)]})
    node.create("tolerant", {"containers": [container("sh", "-c", FOREVER)], "tolerations": [{"operator": "Exists"}]})
    node.await_ready("p")
    uid = node.await_ready("tolerant")["containerStatuses"][0]["containerID"]
    node.stop_agent("n1")
    taint = {"key": "maintenance", "effect": "NoExecute"}
    node.api.patch("/api/v1/nodes/n1", {"spec": {"taints": [taint]}})
    node.resume_agent("n1")
    status = node.await_status("p", lambda s: s.get("phase") == "Failed", "Failed")
    assert node.running() == ["tolerant"]
    assert status["reason"] == "TaintToleration"
    assert "containerStatuses" not in status
    assert node.await_ready("tolerant")["containerStatuses"][0]["containerID"] == uid
    node.stop_agent("n1")
    node.api.patch("/api/v1/nodes/n1", {"spec": {"taints": None}})
    node.resume_agent("n1")
    eventually(lambda: node.serves("n1"), "the agent is back")
    node.await_ready("tolerant")
    assert node.api.pod("p")["status"] == status, "a verdict is final"
