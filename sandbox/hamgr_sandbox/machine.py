"""A machine of the sandbox: one init and all that runs below it. Nodes are machines, and so is the control plane."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hamgr.api.exits import Exit
from hamgr_sandbox import processes
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.init import Spec
from hamgr_sandbox.processes import ProcessId

_START_TIMEOUT_S = 20.0
_KILL_TIMEOUT_S = 10.0


class Machine:
    """`home` is a directory of its own, where its process is on record; so any later command finds it again."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home

    @property
    def logs(self) -> Path:
        """Where the logs of its services are, a file each."""
        return self.home / "logs"

    @property
    def held_file(self) -> Path:
        """Names of the services that shall not be started again when they die (see `hamgr_sandbox.init`)."""
        return self.home / "held.json"

    def boot(self, spec: Spec) -> None:
        """Start the init, which starts the services. Returns at once; raises SandboxError when it cannot start."""
        self.logs.mkdir(parents=True, exist_ok=True)
        spec.save(self._spec_file)
        try:
            done = subprocess.run(
                self.starter(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                timeout=_START_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self.kill()
            text = f"{self.name} was not started within {_START_TIMEOUT_S:g} s; see {spec.log}"
            raise SandboxError(text, Exit.TIMEOUT) from None
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise SandboxError(f"{self.name} cannot be started: {reason[0]}", Exit.UNAVAILABLE)

    def starter(self) -> list[str]:
        """The command that starts the init from the file that `boot` writes, puts it on record, and ends."""
        return [sys.executable, "-m", "hamgr_sandbox.init", str(self._spec_file), str(self._record_file)]

    @property
    def _spec_file(self) -> Path:
        return self.home / "init-spec.json"

    @property
    def _record_file(self) -> Path:
        return self.home / "init.json"

    def process(self) -> ProcessId | None:
        """The init, or None when the machine does not run."""
        try:
            pid, ticks = json.loads(self._record_file.read_text())
        except (OSError, ValueError):
            return None
        process = ProcessId(pid, ticks)
        return process if process.alive() else None

    def running(self) -> ProcessId:
        """The init. Raises SandboxError when the machine does not run."""
        process = self.process()
        if process is None:
            raise SandboxError(f"{self.name} does not run", Exit.UNAVAILABLE)
        return process

    def kill(self) -> None:
        """End everything on it at once, with no chance to react. Idempotent."""
        process = self.process()
        if process is not None:
            processes.kill_tree(process)

    def freeze(self) -> None:
        """Let everything on it stand still. Idempotent."""
        processes.freeze(self.running().pid)

    def thaw(self) -> None:
        """Undo `freeze`. Idempotent."""
        processes.thaw(self.running().pid)

    def frozen(self) -> bool:
        """True while it is frozen as a whole."""
        process = self.process()
        return process is not None and processes.is_frozen(process.pid)

    def services(self) -> dict[str, int]:
        """Its services that run now, with their process numbers."""
        process = self.process()
        return processes.children_by_name(process.pid) if process else {}

    def service(self, name: str) -> int:
        """Process number of one service. Raises SandboxError when it does not run."""
        pid = self.services().get(name)
        if pid is None:
            raise SandboxError(f"{name} does not run on {self.name}", Exit.NO_OBJECT)
        return pid

    def kill_service(self, name: str, *, stay_down: bool = False) -> None:
        """SIGKILL one service; what it has started lives on, as pods outlive their kubelet.

        It is started again as its rule says, unless `stay_down`. Returns when it is gone.
        """
        pid = self.service(name)
        if stay_down:
            self._hold({name} | self.held())
        with suppress(ProcessLookupError):
            process = ProcessId.of(pid)
            process.send(signal.SIGKILL)
            process.wait_gone(_KILL_TIMEOUT_S)

    def start_service(self, name: str) -> None:
        """Start a service that was told to stay down, or whose death was final. Idempotent."""
        self._hold(self.held() - {name})
        self.running().send(signal.SIGHUP)

    def held(self) -> frozenset[str]:
        """The services that were told to stay down."""
        try:
            return frozenset(json.loads(self.held_file.read_text()))
        except (OSError, ValueError):
            return frozenset()

    def _hold(self, names: frozenset[str] | set[str]) -> None:
        unfinished = self.held_file.with_suffix(".new")
        unfinished.write_text(json.dumps(sorted(names)))
        unfinished.rename(self.held_file)
