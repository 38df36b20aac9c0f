"""Roles, kinds of resources, what a failure leads to and what a start needs: the words that all stages share.

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
