"""requirements.lock: everything that pyproject.toml asks for, exact, with hashes, for each Python that is supported."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for: to run, for the sandbox, for the tests, and to install all that."""
    extras = PROJECT["project"]["optional-dependencies"]
    lists = [PROJECT["project"]["dependencies"], *extras.values(), *PROJECT["dependency-groups"].values()]
    return [Requirement(text) for entries in lists for text in entries]


def locked() -> list[tuple[Requirement, list[str]]]:
    """The lock's entries: what, and the hashes of the files that will do."""
    entries = re.sub(r"\\\n\s*", "", TEXT).splitlines()
    parts = [entry.split(" --hash=") for entry in entries if entry and not entry.startswith("#")]
    return [(Requirement(part[0].strip()), [value.strip() for value in part[1:]]) for part in parts]


def test_every_entry_is_one_version_with_hashes():
    assert len(locked()) > len(wanted())
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_gets_what_the_project_asks_for(python):
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    chosen = [entry for entry, _ in locked() if entry.marker is None or entry.marker.evaluate(here)]
    versions = {canonicalize_name(entry.name): str(entry.specifier)[2:] for entry in chosen}
    assert len(versions) == len(chosen), "a package is there in two versions"
    for requirement in wanted():
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version), f"{requirement} is {version} in requirements.lock: make lock"


def test_the_lock_says_what_not_from_where():
    assert not re.search(r"://|index-url|find-links|trusted-host", TEXT)
