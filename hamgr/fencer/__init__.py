"""Makes sure that an old writer cannot write any more, proves it, and writes the proof down.

`Fencer(Surroundings(...))` runs fences; `machine` decides, `observe` looks, `effects` acts, `guard` holds back.
"""

from hamgr.fencer.fencer import Fencer
from hamgr.fencer.guard import GuardLimits, GuardView, PastFence, may_fence
from hamgr.fencer.history import EtcdRecords, records_of
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import Confirmation, FenceRecord, NotOurs, Outcome, Phase, PodRef, Proof, RecordStore, Target
from hamgr.fencer.runner import FencerDeps
from hamgr.fencer.status_view import as_status
from hamgr.fencer.topology import FencingConfig, FencingConfigError, Level, LevelConfig
from hamgr.fencer.unfence import not_back, unfence, unfence_by_order

__all__ = [
    "Confirmation",
    "EtcdRecords",
    "FenceRecord",
    "Fencer",
    "FencerDeps",
    "FencingConfig",
    "FencingConfigError",
    "GuardLimits",
    "GuardView",
    "Level",
    "LevelConfig",
    "NotOurs",
    "Outcome",
    "PastFence",
    "Phase",
    "PodRef",
    "Proof",
    "Reason",
    "RecordStore",
    "Target",
    "as_status",
    "may_fence",
    "not_back",
    "reason",
    "records_of",
    "unfence",
    "unfence_by_order",
]
