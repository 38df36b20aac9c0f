"""Puts a CIB to both schedulers: Debian's crm_simulate as a process, hamgr's in this one."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from fixtures.simulated import answer
from scheduler.differential.answers import Answer, from_document, from_oracle
from scheduler.differential.clusters import NOW

from hamgr.cib.xml.document import load_xml
from hamgr.cli.render import json

# Pacemaker needs 40 ms. On some clusters (placement by utilization with a group, for one) its scheduler never ends.
PATIENCE_CPU_S = 3
# A busy machine may keep it waiting for long.
PATIENCE_S = 120.0


class NoOracle(Exception):
    """crm_simulate gave no answer: it refused the CIB, crashed, or did not end."""


def oracle_installed() -> bool:
    return shutil.which("crm_simulate") is not None


def _limit_cpu() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE_CPU_S, PATIENCE_CPU_S + 1))


def ask_oracle(text: str) -> Answer:
    """crm_simulate's answer. Raises NoOracle."""
    with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
        cib, graph = Path(folder, "cib.xml"), Path(folder, "graph.xml")
        cib.write_text(text, encoding="utf-8")
        moment = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        command = ["crm_simulate", "-S", "-x", str(cib), "-t", moment, "-G", str(graph), "--output-as=xml"]
        environment = {**os.environ, "TZ": "UTC"}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                env=environment,
                check=False,
                cwd=folder,
                preexec_fn=_limit_cpu,
            )
        except subprocess.TimeoutExpired:
            raise NoOracle("crm_simulate did not end") from None
        if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
            raise NoOracle("crm_simulate did not end")
        # Exit 1 says that the simulated transition got stuck half-way: an answer, too.
        if done.returncode not in (0, 1) or not graph.exists() or "<revised_cluster_status>" not in done.stdout:
            raise NoOracle(f"crm_simulate: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
        return from_oracle(done.stdout, graph.read_text(encoding="utf-8"), ET.fromstring(text))


def ask_hamgr(text: str) -> Answer:
    """hamgr's answer, through the same function that prints it for people and programs."""
    now = datetime.fromtimestamp(NOW, UTC)
    transition, _, revised = answer(load_xml(text), now)
    return from_document(json.plain(transition, revised), ET.fromstring(text))


@dataclass(frozen=True)
class Verdict:
    """How the two compare on one CIB."""

    oracle: Answer | None
    differences: dict[str, list[str]] = field(default_factory=dict)
    refusal: str = ""  # why the oracle has no answer
    crash: str = ""  # hamgr's exception

    @property
    def agree(self) -> bool:
        return not self.differences and not self.crash


def judge(text: str) -> Verdict:
    """Compare both answers to one CIB."""
    try:
        expected = ask_oracle(text)
    except NoOracle as error:
        return Verdict(None, refusal=str(error))
    try:
        return Verdict(expected, expected.differences(ask_hamgr(text)))
    except Exception as error:  # noqa: BLE001  any exception is a finding
        return Verdict(expected, crash=f"{type(error).__name__}: {error}")
