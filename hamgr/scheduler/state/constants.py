"""Roles, kinds of resources, what a failure leads to, and the flags of actions and orderings: what all stages share.

They are plain ints, since inner loops compare them: enum's members are slow to compare, and enum is slow to import.
"""

# Roles in Pacemaker's order.
UNKNOWN, STOPPED, STARTED, UNPROMOTED, PROMOTED = range(5)
ROLE_NAMES = ("Unknown", "Stopped", "Started", "Unpromoted", "Promoted")
ROLES_BY_NAME = {
    "Stopped": STOPPED,
    "Started": STARTED,
    "Unpromoted": UNPROMOTED,
    "Slave": UNPROMOTED,
    "Promoted": PROMOTED,
    "Master": PROMOTED,
}


class Variant:
    """Kinds of resources, in the order in which colocations sort them."""

    PRIMITIVE = 1
    GROUP = 2
    CLONE = 3
    BUNDLE = 4


class OnFail:
    """What a failure leads to, by severity: of several failures the worst decides."""

    IGNORE = 0
    DEMOTE = 1
    RECOVER = 2
    RESTART_CONTAINER = 3
    RESET_REMOTE = 4
    MIGRATE = 5
    BLOCK = 6
    STOP = 7
    STANDBY = 8
    FENCE = 9

    @classmethod
    def name(cls, value: int) -> str:
        """What a value is called here."""
        return next(name for name, number in vars(cls).items() if number == value)


class Needs:
    """What has to be true of the cluster before a resource may start (meta attribute ``requires``)."""

    NOTHING = 0
    QUORUM = 1
    FENCING = 2


# Flags of an action (plain ints, combined with |).
PSEUDO = 0x01
RUNNABLE = 0x02
OPTIONAL = 0x04
PRINT_ALWAYS = 0x08
MIGRATE_RUNNABLE = 0x10
DC = 0x40
REQUIRES_ANY = 0x200
RESCHEDULE = 0x800
DUMPED = 0x2000
DANGLE = 0x4000

# Flags of an ordering.
O_NONE = 0
O_OPTIONAL = 0x1
O_APPLY_FIRST_NON_MIGRATABLE = 0x2
O_IMPLIES_FIRST = 0x10
O_IMPLIES_THEN = 0x20
O_PROMOTED_IMPLIES_FIRST = 0x40
O_IMPLIES_FIRST_MIGRATABLE = 0x80
O_RUNNABLE_LEFT = 0x100
O_PSEUDO_LEFT = 0x200
O_IMPLIES_THEN_ON_NODE = 0x400
O_PROBE = 0x800
O_RESTART = 0x1000
O_SERIALIZE_ONLY = 0x4000
O_SAME_NODE = 0x8000
O_IMPLIES_FIRST_PRINTED = 0x10000
O_IMPLIES_THEN_PRINTED = 0x20000
O_ASYMMETRICAL = 0x100000
O_LOAD = 0x200000
O_ONE_OR_MORE = 0x400000
O_ANTI_COLOCATION = 0x800000
O_PRESERVE = 0x1000000
O_THEN_CANCELS_FIRST = 0x2000000

# How one resource's preferences are merged into another's scores.
MERGE_POSITIVE = 1  # totals do not go below zero
MERGE_OPTIONAL = 2  # not at all, if no node would remain
