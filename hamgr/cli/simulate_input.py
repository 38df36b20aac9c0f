"""What ``hamgr simulate`` may be asked about: a CIB, a cluster file, or the running cluster. Imports on demand."""

from __future__ import annotations

from hamgr.api.exits import Exit
from hamgr.cib.model import Cib
from hamgr.cib.records import replace
from hamgr.cib.xml.document import load_xml
from hamgr.cib.xml.values import CibError
from hamgr.cli.exits import CommandError
from hamgr.scheduler import simulator

TYPE_CHECKING = False  # as typing has it; neither that nor pathlib is cheap enough to import for nothing
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hamgr.scheduler.state.working_set import WorkingSet
    from hamgr.store.values import Snapshot


_NAMES_TOLD = 20


def from_file(path: str) -> Cib:
    """A CIB's XML, or (by its ending, .yaml or .yml) a cluster file; raises CommandError.

    A cluster file records no state: its nodes are taken to be online, with nothing running yet.
    """
    if path.endswith((".yaml", ".yml")):
        from pathlib import Path

        from hamgr.cli.cluster_file import read_cluster_file

        return all_up(read_cluster_file(Path(path))[0].to_cib())
    try:
        return load_xml(path if path != "-" else "/dev/stdin")
    except CibError as error:
        raise CommandError(f"{path if path != '-' else 'standard input'}: {error}", Exit.CONFIG) from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", Exit.NO_INPUT) from None


def all_up(cib: Cib) -> Cib:
    """A configuration as it is when all of its nodes have just come up."""
    return replace(simulator.inject(cib, up=[node.name for node in cib.nodes]), have_quorum=True)


def meant(name: str, known: Iterable[str]) -> str:
    """What a mistyped name may have been, as the end of a sentence; empty when nothing comes near."""
    from difflib import get_close_matches

    folded = {each.lower(): each for each in known}
    near = [folded[each] for each in get_close_matches(name.lower(), list(folded), n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def no_resource(name: str, work: WorkingSet) -> CommandError:
    """That no resource is called so, and what some are called."""
    known = resource_names(work)
    listed = [*known[:_NAMES_TOLD], *(["..."] if len(known) > _NAMES_TOLD else [])]
    near = meant(name, known) or f"; resources are {', '.join(listed) or 'none'}"
    return CommandError(f"there is no resource {name}{near}", Exit.NO_OBJECT)


def resource_names(work: WorkingSet) -> list[str]:
    """What a resource may be called by people: its id, an instance with and without its number."""
    return list(dict.fromkeys(name for rsc in work.by_id.values() for name in (rsc.id.partition(":")[0], rsc.id)))


def live(config: str) -> Cib:
    """What the leader would put to the scheduler now, read from etcd. Raises CommandError, StoreError.

    ``config`` is the path of hamgrd's settings file; empty: the usual places.
    """
    from pathlib import Path

    from hamgr.cli.connection import open_store, resolve
    from hamgr.clusterfile.load import ConfigError, load_yaml
    from hamgr.controller.state.cluster_state import STATE
    from hamgr.executor.registry import Registry

    store = open_store(resolve(Path(config) if config else None))
    try:
        applied = store.get("config")
        leader = store.get("leader")
        snapshot = store.read(STATE)
    finally:
        store.close()
    if applied is None or not isinstance(applied.value, dict):
        raise CommandError("no cluster file has been applied yet: hamgr apply -f FILE", Exit.CONFIG)
    try:
        cluster_file = load_yaml(str(applied.value.get("text", "")), "applied configuration", Registry().specs())
    except ConfigError as error:
        raise CommandError(f"the applied configuration cannot be read:\n{error}", Exit.CONFIG) from None
    dc = str(leader.value.get("node", "")) if leader is not None and isinstance(leader.value, dict) else ""
    return assembled(cluster_file.to_live_cib(), snapshot, dc)


def assembled(configuration: Cib, snapshot: Snapshot, dc: str) -> Cib:
    """Configuration and recorded state (all keys below ``state/``) as the leader `dc` puts them together."""
    from hamgr.controller.state.cluster_state import ClusterState, WriteQueue

    class NoJournal(WriteQueue):
        """Nothing is ever written: whoever only looks holds no leadership to write with."""

        def __init__(self) -> None:
            self._waiting = {}

    recorded = ClusterState(NoJournal())
    recorded.load(snapshot)
    return recorded.assemble(configuration, dc)
