"""The `hamgrd` command: start, run until told to stop, hand over. Each failure to start is one sentence and a code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from hamgr import __version__
from hamgr.api.exits import Exit
from hamgr.daemon import logs
from hamgr.daemon.notify import Notifier
from hamgr.daemon.selffence.bound import bound_of
from hamgr.daemon.settings import DEFAULT_PATH, Settings, SettingsError, changed_for_restart, load_settings
from hamgr.executor.registry import UnknownAgent
from hamgr.kube.errors import BadConfiguration, Forbidden, KubeError, Unauthorized
from hamgr.store.errors import StoreError

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; returns its exit code (docs/reference-cli.md)."""
    options = _parser().parse_args(argv)
    try:
        settings = load_settings(options.config)
        bound_of(settings)
        if options.check:
            print(f"{options.config}: valid (cluster {settings.cluster}, node {settings.node})")
            return Exit.OK
        logs.set_up(settings.log.level, settings.log.format, settings.node)
        return _run(options.config, settings)
    except KeyboardInterrupt:
        return Exit.OK
    except Exception as error:
        sentence, code = explain(error, options.config)
        if code == Exit.ERROR:
            log.exception("not_started")
        logs.complain(sentence)
        return code
    finally:
        logs.drain()


class _Parser(argparse.ArgumentParser):
    """argparse, with the documented exit code for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.format_usage()}hamgrd: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hamgrd",
        description="The cluster manager's daemon on one node. SIGTERM ends it and hands leadership over, "
        "SIGHUP reads the settings again.",
        epilog="exit codes: 0 ended as asked, or the settings are valid; 1 a defect; 64 wrong usage; 66 no settings "
        "file; 69 etcd or the API server cannot be reached at the start; 77 not permitted; 78 wrong settings, or "
        "another live hamgrd holds this node's name",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("HAMGR_CONFIG", DEFAULT_PATH)),
        metavar="FILE",
        help=f"the settings (default: $HAMGR_CONFIG or {DEFAULT_PATH})",
    )
    parser.add_argument("--check", action="store_true", help="only check the settings: every mistake with its line")
    parser.add_argument("--version", action="version", version=f"hamgrd {__version__}")
    return parser


def explain(error: Exception, config: Path) -> tuple[str, int]:
    """What kept us from starting, as a sentence, and the exit code for it."""
    if isinstance(error, SettingsError | UnknownAgent):
        return str(error), Exit.CONFIG
    if isinstance(error, StoreError):
        return str(error), error.exit_code
    if isinstance(error, BadConfiguration) or (isinstance(error, KubeError) and error.reason == "TLS"):
        return " ".join(error.message.split()), Exit.CONFIG  # what a YAML reader says takes several lines
    if isinstance(error, Unauthorized | Forbidden):
        return error.message, Exit.NO_PERMISSION
    if isinstance(error, KubeError):
        return error.message, Exit.UNAVAILABLE
    if isinstance(error, OSError) and error.filename == str(config):
        return f"the settings file {config} cannot be read: {error.strerror}", Exit.NO_INPUT
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}", Exit.ERROR
    return f"this should not have happened ({type(error).__name__}: {error})", Exit.ERROR


def _run(path: Path, settings: Settings) -> int:
    from hamgr.daemon.wiring import build

    notifier = Notifier()
    stop = threading.Event()
    reload = _Reload(path, settings, notifier)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload.ask())
    daemon = build(settings, path.parent, notifier, reload.carry_out_if_asked)
    try:
        log.info("started", version=__version__, cluster=settings.cluster, node=settings.node, pid=os.getpid())
        notifier.ready()
        daemon.controller.run(stop)
    finally:
        notifier.stopping()
        log.info("stopping")
        daemon.close()
    log.info("stopped")
    return Exit.OK


class _Reload:
    """SIGHUP: asked for in the signal handler, carried out by the control loop."""

    def __init__(self, path: Path, settings: Settings, notifier: Notifier) -> None:
        self._path = path
        self._settings = settings
        self._notifier = notifier
        self._asked = threading.Event()

    def ask(self) -> None:
        self._asked.set()

    def carry_out_if_asked(self) -> None:
        if not self._asked.is_set():
            return
        self._asked.clear()
        self._notifier.reloading()
        try:
            self._carry_out()
        except (SettingsError, OSError) as error:
            log.error("reload_refused", error=str(error), in_force="the settings as before")
        finally:
            self._notifier.ready()

    def _carry_out(self) -> None:
        """Logging is changed at once; of everything else it is said that a restart is needed."""
        new = load_settings(self._path)
        waiting = changed_for_restart(self._settings, new)
        logs.set_up(new.log.level, new.log.format, self._settings.node)
        self._settings = self._settings.model_copy(update={"log": new.log})
        log.info("reloaded", log_level=new.log.level, needs_restart=waiting)


if __name__ == "__main__":
    sys.exit(main())
