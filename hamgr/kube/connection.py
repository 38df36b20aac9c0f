"""How the API server is reached and how it knows us, by the official client's own means.

Kubeconfig files with all their ways of authentication (tokens, client certificates, exec plugins, cloud providers) and
service accounts are the official client's business; this module only chooses between them. The client's typed half is
never loaded: it costs a second and 60 MB.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamgr.kube.errors import BadConfiguration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_RELOAD_S = 10.0


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """Where to find the API server. Times in seconds.

    ``kubeconfig`` None: ``$KUBECONFIG``, else the pod's service account, else ``~/.kube/config``.
    """

    kubeconfig: Path | None = None
    context: str = ""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 5.0
    attempts: int = 3
    field_manager: str = "hamgr"
    pool_size: int = 32


def socket_options() -> list[tuple[int, int, int]]:
    """Keep-alive so tight that the kernel itself reports a peer that vanished within about five seconds."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 5000)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


class Connection:
    """A connection pool and the headers that authenticate us; safe to share between threads.

    Raises BadConfiguration.
    """

    def __init__(self, config: KubeConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._loaded_at = time.monotonic()
        self._settings, self.rest = _load(config)

    @property
    def server(self) -> str:
        """The API server's URL, for messages."""
        return str(self._settings.host)

    def url(self, path: str) -> str:
        """The full URL of a path that begins with a slash."""
        return self.server.rstrip("/") + path

    def headers(self) -> dict[str, str]:
        """The headers that authenticate a request; short-lived tokens are renewed here."""
        with self._lock:
            settings = self._settings.auth_settings()
        return {str(a["key"]): str(a["value"]) for a in settings.values() if a["in"] == "header" and a["value"]}

    def renew(self) -> bool:
        """Read the credentials again (they are rotated under a running daemon). False: that was just done."""
        with self._lock:
            if time.monotonic() - self._loaded_at < _RELOAD_S:
                return False
            self._loaded_at = time.monotonic()
            old = self.rest
            self._settings, self.rest = _load(self._config)
        old.close()
        return True

    def close(self) -> None:
        """Drop the pooled connections."""
        self.rest.close()


def _load(config: KubeConfig) -> tuple[Any, Any]:
    from kubernetes.client.configuration import Configuration  # 0.2 s: only for those who speak to Kubernetes
    from kubernetes.client.rest import RESTClientObject

    settings = Configuration()
    source = _source(config)
    try:
        _fill(settings, source, config.context)
    except BadConfiguration:
        raise
    except Exception as error:  # the loaders raise whatever a wrong file provokes: YAML, OS, key and type errors
        raise BadConfiguration(0, "BadConfiguration", f"{_described(source)} cannot be used: {error}") from error
    settings.retries = False  # our own policy: see Kube
    settings.connection_pool_maxsize = config.pool_size
    settings.socket_options = socket_options()
    try:
        return settings, RESTClientObject(settings)
    except Exception as error:  # unreadable certificates and the like
        raise BadConfiguration(0, "BadConfiguration", f"{_described(source)} cannot be used: {error}") from error


def _source(config: KubeConfig) -> Path | None:
    """The kubeconfig to read; None: the pod's service account."""
    if config.kubeconfig is not None:
        return config.kubeconfig.expanduser()
    if os.environ.get("KUBECONFIG"):
        return Path(os.environ["KUBECONFIG"])  # may be a list of files: the client merges them
    if SERVICE_ACCOUNT.exists():
        return None
    return Path("~/.kube/config").expanduser()


def _fill(settings: Any, source: Path | None, context: str) -> None:
    from kubernetes.config.incluster_config import load_incluster_config
    from kubernetes.config.kube_config import load_kube_config

    if source is None:
        load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        return
    if os.pathsep not in str(source) and not source.is_file():
        raise BadConfiguration(
            0, "BadConfiguration", f"kubeconfig {source} does not exist; set $KUBECONFIG or kubernetes.kubeconfig"
        )
    load_kube_config(  # type: ignore[no-untyped-call]
        str(source), context=context or None, client_configuration=settings, persist_config=False
    )


def _described(source: Path | None) -> str:
    return f"kubeconfig {source}" if source else f"the service account in {SERVICE_ACCOUNT.parent}"
