"""hamgrd's settings file: what this node's daemon must know before it can speak to anybody."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from hamgr.clusterfile.complaints import validated
from hamgr.clusterfile.options import duration_ms
from hamgr.clusterfile.source import ConfigError, read_yaml
from hamgr.clusterfile.values import DnsLabel, DnsName, Duration, Section, wrong
from hamgr.fencer.programs import Programs
from hamgr.kube.connection import KubeConfig
from hamgr.store.config import StoreConfig

DEFAULT_PATH = Path("/etc/hamgr/hamgrd.yaml")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MOUNTINFO = Path("/proc/self/mountinfo")


class SettingsError(Exception):
    """The settings cannot be used; the message says where and why."""


def _whole_seconds(text: str) -> str:
    if duration_ms(text) % 1000 or duration_ms(text) < 1000:
        raise wrong(f"'{text}': etcd's leases last whole seconds, at least one")
    return text


WholeSeconds = Annotated[Duration, AfterValidator(_whole_seconds)]


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise wrong(f"'{text}' is no address to listen on: write HOST:PORT, as in 127.0.0.1:9433")
    return text


class DaemonSection(Section):
    """A section of hamgrd.yaml; what stands below a setting is its line in docs/reference-options.md."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class EtcdSection(DaemonSection):
    """How to reach etcd."""

    endpoints: Annotated[tuple[str, ...], Field(min_length=1)]
    """etcd's client addresses."""
    ca: Path | None = None
    """The certificate of who signs etcd's; needed for https."""
    cert: Path | None = None
    """The client certificate, where etcd asks for one."""
    key: Path | None = None
    """Its key."""
    user: str | None = None
    """One of etcd's own users; needs https."""
    password_file: Path | None = None
    """The file with that user's password."""
    attempt_timeout: Duration = "1s"
    """How long one attempt at one member may take."""
    request_timeout: Duration = "3s"
    """How long all attempts of one call may take."""
    silence: Duration = "1s"
    """A watch that says nothing for so long is checked by a read."""


class KubernetesSection(DaemonSection):
    """How to reach the API server; with nothing set, the pod's service account or ~/.kube/config."""

    enabled: bool = True
    """Whether there is a Kubernetes cluster; without one only agents work that need none (`dummy`)."""
    kubeconfig: Path | None = None
    """The kubeconfig file. Default: $KUBECONFIG, the pod's service account, ~/.kube/config."""
    context: str = ""
    """Which of its contexts is used; default: the current one."""
    connect_timeout: Duration = "2s"
    """How long connecting may take."""
    read_timeout: Duration = "5s"
    """How long an answer may take."""


class LogSection(DaemonSection):
    """What is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged; SIGHUP reads it again."""
    format: Literal["auto", "json", "journal", "console"] = "auto"
    """How; auto: console on a terminal, journal under systemd, else JSON."""


class TimesSection(DaemonSection):
    """The controller's patience."""

    member_ttl: WholeSeconds = "5s"
    """A node whose hamgrd is silent for so long is lost."""
    lease_age: Duration = "25s"
    """A node without hamgrd is lost when its Kubernetes Lease is so old."""
    settle: Duration = "4s"
    """After trouble with etcd, missing members mean nothing for so long."""
    join_wait: Duration = "15s"
    """A new cluster waits so long for nodes that were never seen."""
    api_stale: Duration = "10s"
    """A leader that cannot see the API server for so long hands over."""


def _mode(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads the word off as false


class SelfFenceSection(DaemonSection):
    """How a node that is cut off stops its own instances; used unless `self-fencing` is off, `find` even then."""

    kill_time: Duration = "1s"
    """How long killing and making sure may take."""
    kill_suffices: bool = False
    """Mode kill: whether level watchdog may go by it; only where the kernel writes nothing after a kill."""
    find: Annotated[tuple[Literal["cgroup", "environment", "mounts"], ...], Field(min_length=1)] = ("cgroup",)
    """How a pod's processes are found."""
    watchdog_device: Path = Path("/dev/watchdog")
    """The machine's watchdog."""
    watchdog_timeout: WholeSeconds = "2s"
    """The machine is reset when the device is not fed for so long."""
    state_dir: Path = Path("/var/lib/hamgr")
    """Where the guard's socket and its list of pods are."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise wrong(f"'{path}': write an absolute name, as in /usr/sbin")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class FenceAgentsSection(DaemonSection):
    """What this node runs to switch others off, and from where it reads what for: the cluster file only chooses."""

    directories: tuple[AbsolutePath, ...] = (Path("/usr/sbin"),)
    """Programs fence_NAME in these directories may be run."""
    programs: tuple[AbsolutePath, ...] = ()
    """Other programs that may be run."""
    parameter_files: AbsolutePath = Path("/etc/hamgr")
    """`params-from: file:/PATH` is read below this directory alone."""


class MetricsSection(DaemonSection):
    """Prometheus metrics over HTTP."""

    listen: Annotated[str, AfterValidator(_address)] | None = None
    """The address to listen on, as in 127.0.0.1:9433; off unless set."""


class Settings(DaemonSection):
    """A whole settings file."""

    cluster: DnsLabel
    """The cluster's name: all keys in etcd are below /hamgr/CLUSTER/."""
    node: DnsName = Field(default_factory=lambda: platform.node().lower())
    """This node's name in Kubernetes; default: the host name."""
    etcd: EtcdSection
    kubernetes: KubernetesSection = Field(default_factory=KubernetesSection)
    times: TimesSection = Field(default_factory=TimesSection)
    log: LogSection = Field(default_factory=LogSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    self_fencing: Annotated[Literal["off", "kill", "watchdog"], BeforeValidator(_mode)] = "off"
    """Whether, and by what, this node stops its own instances when it is cut off (docs/fencing.md)."""
    self_fence: SelfFenceSection = Field(default_factory=SelfFenceSection)
    fence_agents: FenceAgentsSection = Field(default_factory=FenceAgentsSection)
    workers: Annotated[int, Field(ge=1, le=256)] = 32
    """So many agents' actions may be under way at the same time."""
    boot_id_file: Path = BOOT_ID
    """What tells this boot of the machine from others."""
    mountinfo_file: Path = MOUNTINFO
    """What is mounted on this machine."""


def load_settings(path: Path) -> Settings:
    """Read the settings file. Raises SettingsError, with every problem at its line; FileNotFoundError and the like."""
    text = path.read_bytes()
    try:
        return validated(read_yaml(text.decode(), str(path)), Settings)
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    except ConfigError as error:
        raise SettingsError(str(error)) from None


def store_config(settings: Settings, base: Path) -> StoreConfig:
    """The store's settings; relative file names are meant from `base`. Raises StoreConfigError, SettingsError."""
    etcd = settings.etcd
    return StoreConfig(
        endpoints=etcd.endpoints,
        cluster=settings.cluster,
        ca=_beside(base, etcd.ca),
        cert=_beside(base, etcd.cert),
        key=_beside(base, etcd.key),
        user=etcd.user,
        password=_password(_beside(base, etcd.password_file)),
        attempt_timeout_s=seconds(etcd.attempt_timeout),
        request_timeout_s=seconds(etcd.request_timeout),
        silence_s=seconds(etcd.silence),
    )


def kube_config(settings: Settings, base: Path) -> KubeConfig:
    """The Kubernetes gateway's settings."""
    kubernetes = settings.kubernetes
    return KubeConfig(
        kubeconfig=_beside(base, kubernetes.kubeconfig),
        context=kubernetes.context,
        connect_timeout_s=seconds(kubernetes.connect_timeout),
        read_timeout_s=seconds(kubernetes.read_timeout),
    )


def fence_programs(settings: Settings) -> Programs:
    """The fence agents that this node runs."""
    section = settings.fence_agents
    return Programs(section.directories, section.programs, section.parameter_files)


def seconds(duration: str) -> float:
    """A duration of the file in seconds."""
    return duration_ms(duration) / 1000


def read_boot_id(path: Path) -> str:
    """What tells this boot of the machine from others. Raises SettingsError."""
    try:
        boot_id = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"the boot id file {path} cannot be read: {error.strerror}") from None
    if not boot_id:
        raise SettingsError(f"the boot id file {path} is empty")
    return boot_id


def changed_for_restart(old: Settings, new: Settings) -> list[str]:
    """The names of changed settings that a reload cannot put into force."""
    fields = {name: field.alias or name for name, field in Settings.model_fields.items() if name != "log"}
    return [alias for name, alias in fields.items() if getattr(old, name) != getattr(new, name)]


def _beside(base: Path, path: Path | None) -> Path | None:
    return None if path is None else base / path.expanduser()


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"etcd's password file {path} cannot be read: {error.strerror}") from None
