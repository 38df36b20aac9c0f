"""The objects that make the sandbox's disks usable in a cluster: what a CSI driver's installation would bring."""

import asyncio
from pathlib import Path

from hamgr_sandbox.client import ApiError, Client, Object
from hamgr_sandbox.disks import DRIVER

STORAGE_CLASS = "sandbox-disk"
ZONAL_CLASS = "sandbox-zonal"
"""Its volumes exist in one zone only, that of the node which is selected for their first consumer."""

_OBJECTS: tuple[tuple[str, Object], ...] = (
    (
        "/apis/storage.k8s.io/v1/csidrivers",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {"name": DRIVER},
            "spec": {"attachRequired": True, "podInfoOnMount": False, "fsGroupPolicy": "File"},
        },
    ),
    (
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": DRIVER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        },
    ),
    (
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": ZONAL_CLASS},
            "provisioner": DRIVER,
            "parameters": {"zonal": "true"},
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    ),
)


def install(kubeconfig: Path) -> None:
    """Create what is missing. Idempotent. Raises ApiError."""
    asyncio.run(_install(kubeconfig))


async def _install(kubeconfig: Path) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        for path, item in _OBJECTS:
            try:
                await client.post(path, item)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
