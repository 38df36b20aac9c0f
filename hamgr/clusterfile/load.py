"""The cluster file: what an administrator writes, read with every problem found at once and named by its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hamgr.cib import model, rules
from hamgr.cib.options import Values
from hamgr.cib.records import replace
from hamgr.clusterfile.agents import AgentSpec
from hamgr.clusterfile.build.build import FENCING_ID, build_cib
from hamgr.clusterfile.complaints import validated
from hamgr.clusterfile.dump import dump_section
from hamgr.clusterfile.fencing import Fencing, with_timeout
from hamgr.clusterfile.schema import ClusterSection
from hamgr.clusterfile.source import ConfigError, Path, Problem, Source, read_yaml
from hamgr.clusterfile.unused import unused_options
from hamgr.clusterfile.values import Known

__all__ = ["ClusterFile", "ConfigError", "Problem", "dump_yaml", "load_yaml"]


@dataclass(frozen=True)
class ClusterFile:
    """A valid cluster file."""

    section: ClusterSection
    agents: Mapping[str, AgentSpec] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """The cluster's name: part of etcd's keys and of labels."""
        return self.section.cluster

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace that resources live in unless their parameters say otherwise."""
        return self.section.namespace

    @property
    def fencing(self) -> Fencing:
        """Levels, devices and topology for the fencer; `hamgr.clusterfile.fencing.levels_for` picks a node's levels.

        The option fencing-timeout is filled in where a level has no timeout of its own.
        """
        always = [model.NvSet(tuple(one.values.items())) for one in self.section.options if one.rule is None]
        options = Values(rules.values(always, rules.Context(now=0)))
        fencing = self.section.fencing
        return with_timeout(fencing, options.text("fencing-timeout")) if options.is_set("fencing-timeout") else fencing

    @property
    def unused_options(self) -> tuple[str, ...]:
        """A sentence for each option of the file that a running cluster makes nothing of."""
        return tuple(unused_options(self.section))

    def to_cib(self) -> model.Cib:
        """The configuration as the scheduler's model, hamgr's defaults filled in, without recorded state."""
        return build_cib(self.section, self.agents)

    def to_live_cib(self) -> model.Cib:
        """The configuration as a running cluster schedules it: `bundles` are left out."""
        cib = self.to_cib()
        return replace(cib, resources=tuple(r for r in cib.resources if not isinstance(r, model.Bundle)))

    @property
    def bundles(self) -> tuple[str, ...]:
        """What `hamgr simulate FILE` shows, but no running cluster has: hamgr starts no containers on hosts."""
        return tuple(r.id for r in self.to_cib().resources if isinstance(r, model.Bundle))


def load_yaml(text: str, filename: str, agents: Mapping[str, AgentSpec] | None = None) -> ClusterFile:
    """Read a cluster file. Raises ConfigError with everything that is wrong.

    Resources of hamgr's own agents are checked against `agents`; with None they are taken as they are.
    """
    source = read_yaml(text, filename)
    if not isinstance(source.value, dict):
        source.complain((), "a cluster file is a mapping with at least the keys cluster and nodes")
        raise ConfigError(source.problems)
    known = _collect(source, agents)
    return ClusterFile(validated(source, ClusterSection, known), agents or {})


def dump_yaml(cluster_file: ClusterFile) -> str:
    """A cluster file's text, as short as the schema allows; `load_yaml` reads the same file from it."""
    return dump_section(cluster_file.section)


# --- what the file defines ---------------------------------------------------------------------------------------


def _collect(source: Source, agents: Mapping[str, AgentSpec] | None) -> Known:
    """Every id in the file; ids given twice are noted as problems."""
    resources = _unique_ids(source, (*_resource_ids(source.value), *_device_ids(source.value)))
    devices = frozenset(str(name) for _, name in _device_ids(source.value))
    tags = source.value.get("tags")
    return Known(
        resources=resources | {FENCING_ID},
        nodes=_unique_ids(source, tuple(_node_names(source.value))),
        tags=frozenset(tags) if isinstance(tags, dict) else frozenset(),
        devices=devices,
        agents=agents,
    )


def _unique_ids(source: Source, ids: tuple[tuple[Path, str], ...]) -> frozenset[str]:
    first: dict[str, Path] = {}
    for path, name in ids:
        if name in first:
            line = source.problem(first[name], "").line
            source.complain(path, f"'{name}' is taken already, in line {line}")
        first.setdefault(name, path)
    return frozenset(first)


def _entries(value: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, dict):
            yield (*path, index), entry


def _resource_ids(root: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for path, entry in _entries(root.get("resources"), ("resources",)):
        yield from _ids_within(path, entry)


def _ids_within(path: Path, entry: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for key in ("id", "group", "clone", "bundle"):
        if isinstance(entry.get(key), str):
            yield (*path, key), str(entry[key])
            break
    for inner_path, inner in _entries(entry.get("members"), (*path, "members")):
        yield from _ids_within(inner_path, inner)
    for key in ("of", "primitive"):
        if isinstance(entry.get(key), dict):
            yield from _ids_within((*path, key), entry[key])


def _device_ids(root: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    fencing = root.get("fencing")
    devices = fencing.get("devices") if isinstance(fencing, dict) else None
    for path, entry in _entries(devices, ("fencing", "devices")):
        if isinstance(entry.get("id"), str):
            yield (*path, "id"), str(entry["id"])


def _node_names(root: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    nodes = root.get("nodes")
    for index, entry in enumerate(nodes if isinstance(nodes, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(name, str):
            yield ("nodes", index), str(name)
