"""The fixtures of tests/fixtures/fence_world.py and tests/fixtures/pdu.py, for the tests here."""

from fixtures.fence_world import api_server, world
from fixtures.pdu import pdu

__all__ = ["api_server", "pdu", "world"]
