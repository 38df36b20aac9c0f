"""The sandbox as a whole: bring it up, look at it, break it, take it down without a trace.

sandbox = Sandbox(Path("build/sandbox"), Options(nodes=3))
sandbox.up()
sandbox.crash("n1")
sandbox.start("n1")
sandbox.down()
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import yaml

from hamgr.api.exits import Exit
from hamgr_sandbox import access, addresses, observe, plane, powerswitch, processes, proxy, seed
from hamgr_sandbox.apiserver import certificates
from hamgr_sandbox.client import ApiError, load_kubeconfig
from hamgr_sandbox.disks import DiskStore
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.etcd import EtcdMember, find_etcd, free_port, plan_members
from hamgr_sandbox.faults import StorageFaults
from hamgr_sandbox.host import Host
from hamgr_sandbox.init import Service, Spec
from hamgr_sandbox.layout import Layout, Options, Record
from hamgr_sandbox.machine import Machine
from hamgr_sandbox.network import Cut, Direction, Network, NetworkError, Peer
from hamgr_sandbox.node.containers import kill_container

READY_TIMEOUT_S = 60.0
_LOOK_AGAIN_S = 0.05
_LOCK_TIMEOUT_S = 2.0
_API_PORT = 6443
_LOG_TAIL_LINES = 5
_LOG_LINE_LENGTH = 240

Report = Callable[[str], None]


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Missing:
    """What `up` still waits for, and the log that may say why."""

    what: str
    log: Path


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as `Sandbox.status` sees it. `state` is running, frozen or crashed."""

    name: str
    address: str
    state: str
    ready: bool
    member: bool
    leader: bool
    cuts: tuple[Cut, ...]
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The sandbox at one moment. `control` maps each control plane program to running, frozen or down."""

    directory: str
    kubeconfig: str
    etcd_endpoints: tuple[str, ...]
    etcd_answers: bool
    api: str
    api_answers: bool
    control: dict[str, str]
    nodes: tuple[NodeStatus, ...]


class Sandbox:
    """One sandbox, by its directory. Any process may open it; what is up is on record there.

    All methods raise SandboxError, whose text is a sentence and whose code is an exit code.
    """

    def __init__(self, directory: Path, options: Options | None = None) -> None:
        self.layout = Layout(directory.absolute())
        self._options = options or Options()

    # What users of a sandbox need to know

    @property
    def record(self) -> Record:
        """How it was started."""
        return Record.load(self.layout.record)

    @property
    def kubeconfig(self) -> Path:
        """For kubectl and all other clients of the API server."""
        return Path(self.record.kubeconfig)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """The client URLs of etcd."""
        return self.record.etcd

    @property
    def node_names(self) -> list[str]:
        """All nodes, crashed ones too."""
        return self.record.node_names

    def host(self, node: str) -> Host:
        """One node as a machine."""
        return Host(self.layout, self.record, node)

    @property
    def control(self) -> Machine:
        """etcd, the API server and its company, as one machine."""
        return Machine("control", self.layout.control)

    @property
    def switch(self) -> Machine:
        """The power switch, as a machine beside all others."""
        return Machine("switch", powerswitch.home_of(self.layout.root))

    def load_balancer_address(self, service: str, namespace: str = "default") -> tuple[str, int] | None:
        """Where clients reach a Service of type LoadBalancer: address and first port; None while it has none."""
        return observe.load_balancer_address(self.kubeconfig, service, namespace)

    # Up and down

    def up(self, report: Report = _silent, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start everything and return when it is of use: API answers, nodes are Ready, hamgrds have joined.

        `report` hears a line about each step. What an earlier sandbox of this directory left behind is cleared away.
        """
        self._check_options()
        self._make_directory()
        with self._locked():
            if self._runs():
                raise SandboxError(
                    f"a sandbox is up already in {self.layout.root}; see `hamgr sandbox status`, "
                    "or end it with `hamgr sandbox down`"
                )
            self._clear()
            for machine in self._machines():
                shutil.rmtree(machine.logs, ignore_errors=True)
            try:
                self._start(report)
                self._await_ready(time.monotonic() + timeout_s)
            except (SandboxError, NetworkError, OSError, KeyboardInterrupt) as error:
                self._clear()
                if isinstance(error, NetworkError):
                    raise SandboxError(str(error), Exit.UNAVAILABLE) from error
                raise

    def down(self) -> None:
        """Stop exactly what `up` has started and remove all but the logs. Idempotent, also after an unclean end."""
        if not self.layout.root.is_dir():
            return
        with self._locked():
            self._clear()

    def _check_options(self) -> None:
        options = self._options
        if not 1 <= options.nodes <= addresses.MAX_NODES:
            text = f"a sandbox has 1 to {addresses.MAX_NODES} nodes, not {options.nodes}"
            raise SandboxError(text, Exit.USAGE)
        if options.kubeconfig and not Path(options.kubeconfig).is_file():
            raise SandboxError(f"there is no kubeconfig {options.kubeconfig}", Exit.CONFIG)

    def _make_directory(self) -> None:
        root = self.layout.root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SandboxError(
                f"cannot make {root}: {error.strerror}; choose another with --dir", Exit.NO_PERMISSION
            ) from error
        if not os.access(root, os.W_OK):
            raise SandboxError(f"{root} is not writable; choose another with --dir", Exit.NO_PERMISSION)

    def _start(self, report: Report) -> None:
        options = self._options
        plan = addresses.reserve(self.layout.root)
        if plan.loopback:
            report("not root: nodes are groups of processes on loopback addresses, a pulled disk kills its holder")
        else:
            Network(addresses.sandbox_id(self.layout.root), plan).up()
        members = [] if options.etcd_endpoints else plan_members(options.etcd_members, plan.host)
        etcd = tuple(member.endpoint for member in members) or _as_urls(options.etcd_endpoints)
        port = free_port(plan.host, _API_PORT)
        api = _server_of(Path(options.kubeconfig)) if options.kubeconfig else f"https://{plan.host}:{port}"
        outside = [*([] if members else etcd), *([api] if options.kubeconfig else [])]
        record = Record(
            id=addresses.sandbox_id(self.layout.root),
            slot=plan.slot,
            loopback=plan.loopback,
            options=options,
            etcd=etcd,
            api=api,
            kubeconfig=options.kubeconfig or str(self.layout.kubeconfig),
            relays=_relay_ports(plan, [*etcd, api] if plan.loopback else outside),
        )
        record.save(self.layout.record)
        self._write_access(record)
        self.layout.user_settings.write_text(yaml.safe_dump(plane.user_settings(self.layout, record), sort_keys=False))
        self._start_control(record, members, port, report)
        self._start_switch()
        for name in record.node_names:
            self._start_node(record, name)
        report(f"started {len(record.node_names)} nodes: {', '.join(record.node_names)}")

    def _write_access(self, record: Record) -> None:
        """Certificates, tokens and kubeconfigs; on a foreign cluster everybody uses the kubeconfig that was given."""
        for name in record.node_names:
            self.layout.node(name).mkdir(parents=True, exist_ok=True)
        if record.options.kubeconfig:
            for name in record.node_names:
                server = record.seen_from(name, record.api)
                for path in (self.layout.node_kubeconfig(name), self.layout.hamgrd_kubeconfig(name)):
                    access.relayed_kubeconfig(Path(record.kubeconfig), path, server)
            return
        hosts = [record.plan.host, *(record.plan.node(record.node_number(name)) for name in record.node_names)]
        self.layout.tls.mkdir(mode=0o700)
        authority = certificates.ensure(self.layout.tls, hosts).authority
        users = {self.layout.kubeconfig: access.administrator()}
        access.write_kubeconfig(self.layout.kubeconfig, record.api, authority, users[self.layout.kubeconfig])
        for name in record.node_names:
            server = record.seen_from(name, record.api)
            for path, user in (
                (self.layout.node_kubeconfig(name), access.node(name)),
                (self.layout.hamgrd_kubeconfig(name), access.daemon(name)),
            ):
                users[path] = user
                access.write_kubeconfig(path, server, authority, user)
        access.write_tokens(self.layout.tokens, list(users.values()))

    def _start_control(self, record: Record, members: Sequence[EtcdMember], port: int, report: Report) -> None:
        control = self.control
        services: list[Service] = []
        if members:
            binary = find_etcd()
            if binary.warning:
                report(f"warning: {binary.warning}")
            self.layout.etcd.mkdir(mode=0o700, exist_ok=True)
            services += plane.etcd_services(self.layout, binary, members, control.logs)
            version = ".".join(map(str, binary.version))
            report(f"started etcd {version} ({binary.path}): {' '.join(record.etcd)}")
        if not record.options.kubeconfig:
            more = record.options.apiserver_args
            services.append(plane.api_service(self.layout, record.plan.host, port, control.logs, more))
            services.append(plane.controllers_service(record, control.logs))
            report(f"started a stand-in Kubernetes API server and controllers: {record.api}")
        services += plane.storage_services(self.layout, record, control.logs)
        self.layout.disks.mkdir(exist_ok=True)
        control.home.mkdir(exist_ok=True)
        if record.relays:
            cables = control.home / "cables.json"
            proxy.save(plane.cables(self.layout, record), cables)
            services.append(plane.proxy_service(cables, control.logs))
        control.boot(
            Spec(
                services=services,
                log=str(control.home / "init.log"),
                held=str(control.held_file),
                isolate=not record.loopback,
            )
        )

    def _start_switch(self) -> None:
        switch = self.switch
        switch.home.mkdir(exist_ok=True)
        powerswitch.install_agent(self.layout.fence_agent, self.layout.root)
        switch.boot(
            Spec(
                services=[plane.switch_service(self.layout, switch.logs)],
                log=str(switch.home / "init.log"),
                held=str(switch.held_file),
                isolate=False,
            )
        )

    def _start_node(self, record: Record, name: str) -> None:
        host = Host(self.layout, record, name)
        if record.options.hamgrd:
            settings = plane.hamgrd_settings(self.layout, record, name)
            (host.home / "hamgrd.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        host.start()

    def _await_ready(self, deadline: float) -> None:
        record = self.record
        self._await(lambda: self._control_plane_missing(record), deadline)
        try:
            seed.install(Path(record.kubeconfig))
        except ApiError as error:
            raise SandboxError(f"the API server refuses the objects of the disk driver: {error}") from error
        self._await(lambda: self._nodes_missing(record), deadline)

    def _await(self, missing_now: Callable[[], _Missing | None], deadline: float) -> None:
        while missing := missing_now():
            self._check_alive()
            if time.monotonic() > deadline:
                text = f"the sandbox did not get ready: {missing.what}{_log_end(missing.log)}"
                raise SandboxError(text, Exit.TIMEOUT)
            time.sleep(_LOOK_AGAIN_S)

    def _control_plane_missing(self, record: Record) -> _Missing | None:
        """The first thing that does not answer yet."""
        view = observe.look(Path(record.kubeconfig), record.etcd)
        if not view.etcd:
            return _Missing(f"etcd does not answer at {' '.join(record.etcd)}", self._etcd_log())
        if not view.api:
            return _Missing(f"the API server does not answer at {record.api}", self.control.logs / "apiserver.log")
        return None

    def _etcd_log(self) -> Path:
        return next(iter(sorted(self.control.logs.glob("etcd*.log"))), self.control.logs / "etcd.log")

    def _nodes_missing(self, record: Record) -> _Missing | None:
        """The first node that is not ready yet."""
        view = observe.look(Path(record.kubeconfig), record.etcd)
        for name in record.node_names:
            if not view.nodes.get(name):
                return _Missing(f"node {name} is not Ready", self.layout.node(name) / "logs" / "kubelet.log")
            if record.options.hamgrd and name not in view.members:
                return _Missing(f"hamgrd on {name} has not joined", self.layout.node(name) / "logs" / "hamgrd.log")
        return None

    def _check_alive(self) -> None:
        """Raise SandboxError when something died that nobody starts again."""
        spec = Spec.load(self.control.home / "init-spec.json")
        running = self.control.services()
        for service in spec.services:
            log = Path(service.log)
            if service.restart_s is None and service.name not in running and log.exists():
                raise SandboxError(f"{service.name} ended at once{_log_end(log)}", Exit.UNAVAILABLE)

    def _runs(self) -> bool:
        """True while any machine of this sandbox runs, besides the power switch, which makes no cluster."""
        return any(machine.process() for machine in self._machines() if machine.name != self.switch.name)

    def _machines(self) -> list[Machine]:
        nodes = [Machine(path.name, path) for path in sorted(self.layout.nodes.glob("*/")) if path.is_dir()]
        return [self.switch, *nodes, self.control]  # in the order of their end: nothing may be switched on any more

    def _clear(self) -> None:
        """Stop and remove everything of this directory, whoever left it."""
        self._stop()
        keep_disks = bool(self._read_record() and self.record.options.kubeconfig)
        for path in (self.layout.etcd, self.layout.tls, *([] if keep_disks else [self.layout.disks])):
            shutil.rmtree(path, ignore_errors=True)
        for machine in self._machines():
            for path in machine.home.glob("*"):
                if path.is_dir() and path.name != "logs":
                    shutil.rmtree(path, ignore_errors=True)
                elif path.is_file():
                    path.unlink()
        self.layout.kubeconfig.unlink(missing_ok=True)
        self.layout.user_settings.unlink(missing_ok=True)
        self.layout.fence_agent.unlink(missing_ok=True)
        self.layout.record.unlink(missing_ok=True)

    def _stop(self) -> None:
        """End all processes, give back disks, network and addresses. Idempotent."""
        for machine in self._machines():
            machine.kill()
        if self.layout.disks.is_dir():
            DiskStore(self.layout.disks).close()
        if os.geteuid() == 0:
            name = addresses.sandbox_id(self.layout.root)
            Network(name, addresses.AddressPlan(0, loopback=False)).down()
        addresses.release(self.layout.root)

    def _read_record(self) -> Record | None:
        try:
            return self.record
        except SandboxError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.layout.lock.open("a") as lock:
            # A process that is just being started by another thread holds a copy of the lock until it has begun.
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            while not _lock(lock):
                if time.monotonic() > deadline:
                    text = f"another command is changing the sandbox in {self.layout.root}; try again when it is done"
                    raise SandboxError(text)
                time.sleep(_LOOK_AGAIN_S)
            yield

    # Faults, each with its undoing

    def crash(self, node: str) -> None:
        """Pull a node's plug (see `Host.crash`)."""
        self.host(node).crash()

    def start(self, name: str) -> None:
        """Undo `crash` of a node, or start a control plane program that was killed (`etcd`: all members)."""
        if name in self.node_names:
            self.host(name).start()
        else:
            for service in self._control_programs(name):
                self.control.start_service(service)

    def freeze(self, name: str) -> None:
        """SIGSTOP a node with all that runs on it, or a control plane program (`etcd`: all members)."""
        if name in self.node_names:
            self.host(name).freeze()
        else:
            for service in self._control_programs(name):
                processes.freeze(self.control.service(service))

    def thaw(self, name: str) -> None:
        """Undo `freeze`."""
        if name in self.node_names:
            self.host(name).thaw()
        else:
            for service in self._control_programs(name):
                processes.thaw(self.control.service(service))

    def partition(self, node: str, peer: Peer = Peer.ALL, direction: Direction = Direction.BOTH) -> None:
        """Cut a node off while its processes run on (see `Host.partition`)."""
        self.host(node).partition(peer, direction)

    def heal(self, node: str) -> None:
        """Undo every `partition` of a node."""
        self.host(node).heal()

    def kill_hamgrd(self, node: str, *, stay_down: bool = False) -> None:
        """SIGKILL the node's hamgrd; its init starts it again after a second unless `stay_down`."""
        self.host(node).kill_service(plane.HAMGRD, stay_down=stay_down)

    def kill_kubelet(self, node: str, *, stay_down: bool = False) -> None:
        """SIGKILL the node agent; pods run on."""
        self.host(node).kill_service(plane.NODE_AGENT, stay_down=stay_down)

    def kill_container(self, pod: str, container: str | None = None, namespace: str = "default") -> None:
        """SIGKILL the first process of a pod's containers, or of one of them; its kubelet does the rest."""
        for name in self.node_names:
            root = self.layout.node(name) / "kubelet"
            try:
                if kill_container(root, namespace, pod, container):
                    return
            except OSError:  # no runtime answers there: a crashed or frozen node
                continue
        what = f"container {container!r} of pod" if container else "pod"
        text = f"no running {what} {namespace}/{pod} on any node that answers"
        raise SandboxError(text, Exit.NO_OBJECT)

    def kill_program(self, name: str, *, stay_down: bool = False) -> None:
        """SIGKILL a control plane program (`etcd`: all members). etcd and the API server stay down until `start`."""
        for service in self._control_programs(name):
            self.control.kill_service(service, stay_down=stay_down)

    def _control_programs(self, name: str) -> list[str]:
        spec = Spec.load(self.control.home / "init-spec.json")
        names = [service.name for service in spec.services]
        found = [each for each in names if each == name or (name == "etcd" and each.startswith("etcd"))]
        if not found:
            known = ", ".join([*self.node_names, *names])
            raise SandboxError(f"there is no {name!r}; the sandbox has {known}", Exit.NO_HOST)
        return found

    @property
    def storage(self) -> StorageFaults:
        """What can go wrong with disks."""
        return StorageFaults(self.layout, self.kubeconfig)

    def log_file(self, who: str, namespace: str = "default") -> Path:
        """The log of a program, `hamgrd@NODE`, `kubelet@NODE` or POD[/CONTAINER] (its latest run)."""
        service, _, node = who.partition("@")
        pod, _, container = who.partition("/")
        if node:
            found = [self.host(node).logs / f"{service}.log"]
        else:
            found = [self.control.logs / f"{who}.log"]
            runs = self.layout.nodes.glob(f"*/kubelet/logs/{namespace}_{pod}_*/{container or '*'}/*.log")
            found += sorted(runs, key=lambda run: run.stat().st_mtime, reverse=True)
        for path in found:
            if path.exists():
                return path
        raise SandboxError(f"there is no log of {who!r} in {self.layout.root}", Exit.NO_OBJECT)

    def status(self) -> Status:
        """Look at everything; takes at most a second or two when nothing answers."""
        record = self.record
        view = observe.look(Path(record.kubeconfig), record.etcd)
        return Status(
            directory=str(self.layout.root),
            kubeconfig=record.kubeconfig,
            etcd_endpoints=record.etcd,
            etcd_answers=view.etcd,
            api=record.api,
            api_answers=view.api,
            control=self._control_state(),
            nodes=tuple(self._node_status(name, view) for name in record.node_names),
        )

    def _control_state(self) -> dict[str, str]:
        spec = Spec.load(self.control.home / "init-spec.json")
        running = self.control.services()
        return {service.name: _state_of(running.get(service.name)) for service in spec.services}

    def _node_status(self, name: str, view: observe.View) -> NodeStatus:
        host = self.host(name)
        process = host.process()
        state = "crashed" if process is None else "frozen" if host.frozen() else "running"
        return NodeStatus(
            name=name,
            address=host.address,
            state=state,
            ready=view.nodes.get(name, False),
            member=name in view.members,
            leader=name == view.leader,
            cuts=tuple(host.cuts()),
            services=tuple(sorted(host.services())),
        )


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _state_of(pid: int | None) -> str:
    if pid is None:
        return "down"
    return "frozen" if processes.is_frozen(pid) else "running"


def _log_end(log: Path) -> str:
    """The last lines of a log, for the end of an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    except OSError:
        return f" (there is no {log})"
    return "\n".join([f"; the end of {log}:", *(f"  {line[:_LOG_LINE_LENGTH]}" for line in lines)])


def _as_urls(endpoints: Sequence[str]) -> tuple[str, ...]:
    return tuple(endpoint if "//" in endpoint else f"http://{endpoint}" for endpoint in endpoints)


def _relay_ports(plan: addresses.AddressPlan, urls: Sequence[str]) -> dict[str, int]:
    """A port of its own for each server, the server's own number where that is free."""
    ports: dict[str, int] = {}
    for url in urls:
        wished = urlsplit(url).port or _API_PORT
        ports[url] = free_port(plan.node(1) if plan.loopback else plan.host, 0 if wished in ports.values() else wished)
    return ports


def _server_of(kubeconfig: Path) -> str:
    return load_kubeconfig(kubeconfig).server
