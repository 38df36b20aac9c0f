"""What hamgr, its sandbox and its tests run as a program is installed by tools/setup, or is there on every Debian."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's packages alone
SOURCES = ("hamgr", "agents", "sandbox", "tests", "tools", "bench")
# The first word of a list of several, and what which() is asked for.
NAMED = re.compile(r"""(?:(?<![\w\]])\[\s*(?=["'][^"']*["'],)|\bwhich\(\s*)["']([a-z][a-z0-9._-]+)["']""")
# Words that begin a list somewhere and are no program there, although Debian has one of that name.
NO_PROGRAMS = {"clear", "mariadb", "node", "red"}

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-query") is None, reason="only Debian knows of which package a file is"
)


@cache
def where(program: str) -> str | None:
    return shutil.which(program, path=PATH)


@cache
def named_programs() -> dict[str, str]:
    """The programs that are run, each with a file that names it."""
    return {
        word: str(file.relative_to(ROOT))
        for folder in SOURCES
        for file in sorted((ROOT / folder).rglob("*.py"))
        for word in NAMED.findall(file.read_text())
        if word not in NO_PROGRAMS and where(word) is not None
    }


def installed_by_setup() -> dict[str, str]:
    """The programs of which set-up makes sure, with their packages: its own list, and what the Makefile adds to it."""
    text = (ROOT / "tools/setup").read_text() + (ROOT / "Makefile").read_text()
    return dict(re.findall(r"(?<=[ (])([a-z][a-z0-9._-]+):([a-z][a-z0-9.-]+)(?=[ )\n])", text))


def packages(program: str) -> set[str]:
    """Debian's packages with this program. /bin may be a link to /usr/bin, and dpkg knows one name of a file."""
    found = Path(where(program) or "")
    names = {str(found), str(found.resolve()), str(Path("/", *found.parts[2:])), f"/usr{found}"}
    done = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)
    return {line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith("diversion")}


def essential_packages() -> set[str]:
    """What no Debian is without."""
    show = ["dpkg-query", "--show", "--showformat=${Essential} ${Package}\n"]
    done = subprocess.run(show, capture_output=True, text=True, check=True)
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("yes ")}


def test_setup_installs_every_program_that_is_run():
    listed = installed_by_setup()
    there = {*listed.values(), *essential_packages()}
    doubtful = {program: file for program, file in named_programs().items() if program not in listed}
    missing = {program: file for program, file in doubtful.items() if not packages(program) & there}
    assert missing == {}, "add them to tools/setup or to setup-tests in the Makefile, as program:package"


def test_the_programs_are_found():
    """The other test is worth nothing if it does not see what is run."""
    assert {"ip", "etcdctl", "kubectl", "mkfs.ext4", "crm_simulate", "mariadbd", "nsenter"} <= {
        *named_programs(),
        *(program for program in ("etcdctl", "kubectl", "crm_simulate") if shutil.which(program) is None),
    }
    assert installed_by_setup()["etcdctl"] == "etcd-client"
