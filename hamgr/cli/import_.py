"""`hamgr import`: a Pacemaker configuration becomes a cluster file; what cannot come along is named on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import yaml

from hamgr.api.exits import Exit
from hamgr.cib.model import Cib
from hamgr.cib.xml.document import load_xml
from hamgr.cib.xml.values import CibError
from hamgr.cli.exits import CommandError
from hamgr.clusterfile.load import ClusterFile, ConfigError, dump_yaml, load_yaml
from hamgr.importer.convert import Translation
from hamgr.importer.salvage import without

# Sections of a CIB's configuration that the model knows; anything else is named and left.
_SECTIONS = frozenset(
    {
        "crm_config",
        "nodes",
        "resources",
        "constraints",
        "rsc_defaults",
        "op_defaults",
        "tags",
        "fencing-topology",
        "alerts",
    }
)
_WHY_NOT = {"acls": "etcd and Kubernetes have their own users and roles"}


@click.command(name="import")
@click.argument("cib", type=click.Path(path_type=Path, readable=False))
@click.option("--cluster", default="imported", show_default=True, help="The cluster's name in the new file.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    help="Write the file here instead of to stdout.",
)
def import_(cib: Path, cluster: str, output: Path | None) -> int:
    """Turn a Pacemaker configuration (cibadmin --query; - is stdin) into a hamgr cluster file.

    The file goes to stdout; for each thing that cannot come along, stderr says why.
    """
    cluster_file, notes = translate(cib, cluster)
    text = dump_yaml(cluster_file)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"the cluster file {output} cannot be written: {error.strerror}") from None
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return Exit.OK


def translate(path: Path, cluster: str) -> tuple[ClusterFile, list[str]]:
    """The cluster file, and what a person should know about it. Raises CommandError."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        cib = load_xml(data)
    except OSError as error:
        raise CommandError(f"the CIB {path} cannot be read: {error.strerror}", Exit.NO_INPUT) from None
    except CibError as error:
        raise CommandError(f"{path}: {error}", Exit.CONFIG) from None
    translation = Translation(cib, cluster)
    cluster_file, unfit = _checked(translation, path)
    return cluster_file, [*translation.notes, *unfit, *_left_behind(cib, data)]


def _checked(translation: Translation, path: Path) -> tuple[ClusterFile, list[str]]:
    """The file as hamgr itself reads it, so that what is printed can be applied; and what had to go for that."""
    notes: list[str] = []
    while True:
        text = yaml.dump(translation.section, Dumper=yaml.SafeDumper, sort_keys=False)
        try:
            return load_yaml(text, f"{path} as a cluster file"), notes
        except ConfigError as error:
            # Each round removes something, so there is an end to them.
            removed = without(translation.section, error.problems)
            if not removed:
                raise CommandError(f"{path} cannot become a cluster file as it is:\n{error}", Exit.CONFIG) from None
            notes += removed


def _left_behind(cib: Cib, data: bytes) -> list[str]:
    configuration = ElementTree.fromstring(data).find("configuration")
    sections = [] if configuration is None else [element.tag for element in configuration]
    notes = [
        f"section {name}: not imported; {_WHY_NOT.get(name, 'hamgr has none of that kind')}"
        for name in sections
        if name not in _SECTIONS
    ]
    if any(state.resources or state.attributes for state in cib.node_states):
        notes.append("status: not imported; hamgr looks for itself at what runs where")
    return notes
