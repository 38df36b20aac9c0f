"""hamgrd's settings file: what this node's daemon must know before it can speak to anybody."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

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


class EtcdSection(Section):
    """How to reach etcd."""

    endpoints: Annotated[tuple[str, ...], Field(min_length=1)]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    attempt_timeout: Duration = "1s"
    request_timeout: Duration = "3s"
    silence: Duration = "1s"


class KubernetesSection(Section):
    """How to reach the API server; with nothing set, the pod's service account or ~/.kube/config."""

    enabled: bool = True
    kubeconfig: Path | None = None
    context: str = ""
    connect_timeout: Duration = "2s"
    read_timeout: Duration = "5s"


class LogSection(Section):
    """What is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    # auto: console on a terminal, journal under systemd, else JSON
    format: Literal["auto", "json", "journal", "console"] = "auto"


class TimesSection(Section):
    """The controller's patience; the meaning of each is in `hamgr.controller.settings`."""

    member_ttl: WholeSeconds = "5s"
    lease_age: Duration = "25s"
    settle: Duration = "4s"
    join_wait: Duration = "15s"
    api_stale: Duration = "10s"
    recheck: Duration = "60s"


def _mode(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads the word off as false


class SelfFenceSection(Section):
    """How a node that is cut off stops its own instances; used unless `self-fencing` is off, `find` even then."""

    kill_time: Duration = "1s"  # for killing and making sure
    kill_suffices: bool = False  # mode kill: whether level watchdog may go by it; the kernel may write what was cached
    find: Annotated[tuple[Literal["cgroup", "environment", "mounts"], ...], Field(min_length=1)] = ("cgroup",)
    watchdog_device: Path = Path("/dev/watchdog")
    watchdog_timeout: WholeSeconds = "2s"
    state_dir: Path = Path("/var/lib/hamgr")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise wrong(f"'{path}': write an absolute name, as in /usr/sbin")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class FenceAgentsSection(Section):
    """What this node runs to switch others off, and from where it reads what for: the cluster file only chooses."""

    directories: tuple[AbsolutePath, ...] = (Path("/usr/sbin"),)
    programs: tuple[AbsolutePath, ...] = ()
    parameter_files: AbsolutePath = Path("/etc/hamgr")


class MetricsSection(Section):
    """Prometheus metrics over HTTP; off unless there is an address to listen on."""

    listen: Annotated[str, AfterValidator(_address)] | None = None


class Settings(Section):
    """A whole settings file."""

    cluster: DnsLabel
    node: DnsName = Field(default_factory=lambda: platform.node().lower())
    etcd: EtcdSection
    kubernetes: KubernetesSection = Field(default_factory=KubernetesSection)
    times: TimesSection = Field(default_factory=TimesSection)
    log: LogSection = Field(default_factory=LogSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    self_fencing: Annotated[Literal["off", "kill", "watchdog"], BeforeValidator(_mode)] = "off"
    self_fence: SelfFenceSection = Field(default_factory=SelfFenceSection)
    fence_agents: FenceAgentsSection = Field(default_factory=FenceAgentsSection)
    workers: Annotated[int, Field(ge=1, le=256)] = 32
    boot_id_file: Path = BOOT_ID
    mountinfo_file: Path = MOUNTINFO


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
