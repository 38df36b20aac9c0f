"""How long a new leader takes to make void what a past one may still send, by the number of databases.

    python bench/takeover.py [DATABASES ...]

Each database has a pod, a parked pod, and an attached disk. The API server is the sandbox's, on this machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from hamgr_sandbox.apiserver.threaded import in_thread

from hamgr.controller.stamping import Stamped, Stamping
from hamgr.kube.cache import Cache
from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import POD, PV, VOLUME_ATTACHMENT

_RUNS = 5


def main() -> None:
    """Print a line for each number of databases."""
    for count in map(int, sys.argv[1:] or ("1", "10", "100")):
        with in_thread() as url, tempfile.TemporaryDirectory() as directory:
            kube = Kube(KubeConfig(kubeconfig=_kubeconfig(Path(directory), url)))
            _fill(kube, count)
            cache = Cache(kube)
            cache.start()
            cache.wait_synced(30)
            took = [_take_over(kube, cache, token) for token in range(1, _RUNS + 1)]
            seconds = [stamped.took_s for stamped in took]
            objects, middle = took[0].objects, statistics.median(seconds)
            print(f"{count} databases: {objects} objects, {middle:.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
            cache.stop()
            kube.close()


def _take_over(kube: Kube, cache: Cache, token: int) -> Stamped:
    done, told = threading.Event(), list[Stamped]()

    def on_done(stamped: Stamped) -> None:
        told.append(stamped)
        done.set()

    Stamping(kube, cache, "t", on_done).begin((), token)
    done.wait()
    return told[0]


def _fill(kube: Kube, count: int) -> None:
    for number in range(count):
        name = f"db{number}"
        for node in ("n1", "n2"):
            kube.post(POD.collection("default"), _pod(name, node))
        claim = {"namespace": "default", "name": name}
        csi = {"driver": "d", "volumeHandle": name}
        spec: dict[str, Any] = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
        kube.post(PV.collection(), {"metadata": {"name": name}, "spec": spec | {"csi": csi, "claimRef": claim}})
        attached = {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": name}}
        kube.post(VOLUME_ATTACHMENT.collection(), {"metadata": {"name": f"csi-{name}"}, "spec": attached})


def _pod(name: str, node: str) -> dict[str, Any]:
    labels = {"hamgr.io/cluster": "t", "hamgr.io/resource": name, "hamgr.io/node": node}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]
    spec = {"nodeName": node, "volumes": volumes, "containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"name": f"{name}-{node}", "labels": labels}, "spec": spec}


def _kubeconfig(directory: Path, url: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": url}}],
        "users": [{"name": "x", "user": {}}],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


if __name__ == "__main__":
    main()
