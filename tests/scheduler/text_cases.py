"""Clusters of whose description for people crm_simulate's is recorded (`texts/`), and how two such texts compare.

`python -m tests.scheduler.text_cases` records them again, which needs crm_simulate 2.1.5.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from tests.scheduler.cibs import Case, clone, fence_device, group, primitive, xml
from tests.scheduler.test_golden import CASES, located, order, text_of, with_

RECORDED = Path(__file__).parent / "texts"
MOMENT = "2026-01-01 00:00:00Z"
FENCING = {"stonith-enabled": "true"}
BLOCKING = "stop,0,on-fail=block"


def _pending(text: str) -> str:
    """The failed operation of a CIB made one that has not come back yet."""
    return text.replace('op-status="4"', 'op-status="-1"').replace('magic="4:', 'magic="-1:')


def _unconfigured(case: Case, name: str) -> str:
    """A CIB whose histories also know a resource that is no longer configured."""
    return xml(case, [*re.findall(r'<primitive id="(\w+)"', case.resources), name])


def _of_old(text: str) -> str:
    """The histories of a clone's instance A on n1, n2 and n3 as old Pacemakers left them, by number; on n1 another one,
    by no number, that is older."""
    histories = re.findall(r'<lrm_resource id="A".*?</lrm_resource>', text)
    for number, history in zip((2, 1, 0), histories, strict=True):
        numbered = history.replace('"A"', f'"A:{number}"').replace('"A_', f'"A:{number}_')
        older = history.replace("start", "stop").replace('call-id="2"', 'call-id="1"') if number == 2 else ""
        text = text.replace(history, older + numbered, 1)
    return text


def _located(text: str, node: str) -> str:
    return text.replace('operation="monitor"', f'operation="monitor" on_node="{node}"')


_SETS = (
    '<rsc_order id="ord"><resource_set id="ord-1" sequential="false" require-all="false"><resource_ref id="A"/>'
    '<resource_ref id="B"/></resource_set><resource_set id="ord-2"><resource_ref id="D"/></resource_set></rsc_order>'
)

TEXTS = {
    **{case.name: text_of(case) for case in CASES},
    "starting": _pending(text_of(Case("", primitive("A"), set(), ops=(("n1", "A", "start", 0, -1),)))),
    "demoting": _pending(
        text_of(
            Case(
                "",
                clone("C", primitive("A"), "promotable=true"),
                set(),
                active={"A": "n1,n2"},
                ops=(("n1", "A", "demote", 0, -1),),
            )
        )
    ),
    "not-installed": _located(
        text_of(Case("", primitive("A") + primitive("B"), set(), ops=(("n1", "A", "monitor", 0, 5),))), "n1"
    ),
    "not-installed-for-a-clone": _located(
        text_of(Case("", clone("C", primitive("A")), set(), ops=(("n1", "A", "monitor", 0, 5),))), "n1"
    ),
    "health": text_of(
        Case(
            "",
            primitive("A"),
            set(),
            options={"node-health-strategy": "migrate-on-red"},
            active={"A": "n1"},
            attributes={"n1": {"#health-disk": "red"}, "n2": {"#health-disk": "Yellow"}, "n3": {"#health-disk": "-5"}},
        )
    ),
    "shutdown-lock": text_of(
        Case(
            "",
            primitive("A") + primitive("B"),
            set(),
            options={"shutdown-lock": "true"},
            active={"A": "n1"},
            attributes={"n1": {"shutdown": "1600000000"}},
        )
    ),
    "node-maintenance": text_of(
        Case("", primitive("A"), set(), active={"A": "n1"}, attributes={"n1": {"maintenance": "true"}})
    ),
    "all-unmanaged-and-some-disabled": text_of(
        Case(
            "",
            clone("C", primitive("A"), "is-managed=false target-role=Stopped") + group("G", primitive("B")),
            set(),
            active={"A": "n1,n3", "B": "n2"},
        )
    ),
    "clone-with-a-failed-instance": text_of(
        Case(
            "",
            clone("C", primitive("A", ops="monitor,10s"), "clone-max=2"),
            set(),
            active={"A": "n1,n3"},
            ops=(("n1", "A", "monitor", 10000, 7),),
        )
    ),
    "clone-disabled": text_of(Case("", clone("C", primitive("A"), "target-role=Stopped"), set(), active={"A": "n1"})),
    "clone-with-a-history-of-old": _of_old(
        text_of(Case("", clone("C", primitive("A"), "target-role=Stopped"), set(), active={"A": "n1"}))
    ),
    "held-unpromoted": text_of(
        Case(
            "",
            clone("C", primitive("A"), "promotable=true target-role=Unpromoted"),
            set(),
            active={"A": "n1,n2,n3"},
            ops=(("n1", "A", "promote", 0, 0),),
            attributes={"n1": {"master-A": "10"}},
        )
    ),
    "unique-and-promotable": text_of(
        Case("", clone("C", primitive("A"), "promotable=true globally-unique=true clone-max=2"), set())
    ),
    "failed-stop-blocks": text_of(
        Case("", primitive("A", ops=BLOCKING), set(), active={"A": "n1"}, ops=(("n1", "A", "stop", 0, 1),))
    ),
    "multiply-active-and-blocked": text_of(
        Case("", primitive("A", "multiple-active=block"), set(), active={"A": "n1,n3"})
    ),
    "cannot-start-without": text_of(
        Case("", primitive("A", "target-role=Stopped") + primitive("B"), set(), order("ord", "A", "B"))
    ),
    "stops-with-what-it-needs": text_of(
        Case(
            "",
            primitive("A", "target-role=Stopped") + primitive("B"),
            set(),
            order("ord", "A", "B"),
            active={"A": "n1", "B": "n2"},
        )
    ),
    "stops-with-the-clone-it-needs": text_of(
        Case(
            "",
            clone("C", primitive("A"), "target-role=Stopped") + clone("D", primitive("B"), "interleave=true"),
            set(),
            order("ord", "C", "D"),
            active={"A": "n1,n2", "B": "n1,n2"},
        )
    ),
    "needs-one-of-two": text_of(
        Case(
            "",
            primitive("A", "target-role=Stopped") + primitive("B", "target-role=Stopped") + primitive("D"),
            set(),
            _SETS,
            active={"D": "n3"},
        )
    ),
    "restarts-with-what-it-needs": text_of(
        Case(
            "",
            primitive("A", ops="monitor,10s") + primitive("B") + primitive("D"),
            set(),
            order("ord", "A", "B") + order("ord2", "B", "D"),
            active={"A": "n1", "B": "n2", "D": "n3"},
            ops=(("n1", "A", "monitor", 10000, 7),),
        )
    ),
    "colocated-with-the-blocked": text_of(
        Case("", primitive("A") + primitive("B"), set(), with_("c", "B", "A"), quorum=False)
    ),
    "unconfigured": _unconfigured(Case("", primitive("A"), set(), active={"Z": "n2", "A": "n1"}), "Z"),
    "unconfigured-and-kept": _unconfigured(
        Case("", primitive("A"), set(), options={"stop-orphan-resources": "false"}, active={"Z": "n2"}), "Z"
    ),
    "on-fail-standby": text_of(
        Case(
            "",
            primitive("A", ops="monitor,10s,on-fail=standby") + primitive("B"),
            set(),
            located("l", "B", "n1", "100"),
            active={"A": "n1", "B": "n1"},
            ops=(("n1", "A", "monitor", 10000, 7),),
        )
    ),
    "two-lost-nodes": text_of(
        Case("", fence_device() + primitive("A"), set(), options=FENCING, active={"A": "n3"}, lost=("n2", "n3"))
    ),
    "fenced-peer-of-a-notified-clone": text_of(
        Case(
            "",
            fence_device() + clone("C", primitive("A"), "notify=true"),
            set(),
            options=FENCING,
            active={"A": "n1,n2,n3", "fencer": "n1"},
            lost=("n2",),
        )
    ),
    "cannot-be-fenced": text_of(
        Case(
            "",
            fence_device() + primitive("A"),
            set(),
            options=FENCING,
            active={"A": "n3", "fencer": "n1"},
            lost=("n3",),
            quorum=False,
        )
    ),
    "migrates-with-what-cannot": text_of(
        Case(
            "",
            group("G", primitive("A", "allow-migrate=true"), primitive("B"), primitive("D", "allow-migrate=true")),
            set(),
            located("l", "G", "n1", "-INFINITY"),
            active={"A": "n1", "B": "n1", "D": "n1"},
        )
    ),
    "moves-promoted": text_of(
        Case(
            "",
            clone("C", primitive("A"), "promotable=true clone-max=1"),
            set(),
            located("l", "C", "n1", "-INFINITY"),
            active={"A": "n1"},
            ops=(("n1", "A", "promote", 0, 0),),
            attributes={"n1": {"master-A": "10"}, "n2": {"master-A": "10"}},
        )
    ),
}


# Said by one of the two alone: crm_simulate repeats the time, and says on stderr that a transition got stuck.
_ASIDE = ("Setting effective", "  * The transition got stuck")


def told(text: str) -> list[str]:
    """The lines of a description; those of the executed transition sorted, since several orders are as good."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith(_ASIDE)]
    first = next((i for i, line in enumerate(lines) if line.startswith("Executing")), len(lines))
    last = next((i for i, line in enumerate(lines) if line.startswith("Revised")), len(lines))
    return lines[: first + 1] + sorted(lines[first + 1 : last]) + lines[last:]


def ask_crm_simulate(text: str, moment: str = MOMENT, what: str = "-S") -> str:
    """crm_simulate's description of a CIB and of what it would do about it (-S) or its scores (-Rs)."""
    with tempfile.TemporaryDirectory() as folder:
        cib = Path(folder, "cib.xml")
        # The simulator refuses to change a CIB of its own version.
        cib.write_text(text.replace('crm_feature_set="3.16.2" validate', 'crm_feature_set="3.16.1" validate'))
        command = ["crm_simulate", what, "-x", str(cib), "-t", moment]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=folder,
            env={"TZ": "UTC", "PATH": "/usr/sbin:/usr/bin"},
        ).stdout


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for name, cib_text in TEXTS.items():
        (RECORDED / f"{name}.txt").write_text("\n".join(told(ask_crm_simulate(cib_text))) + "\n", encoding="utf-8")
