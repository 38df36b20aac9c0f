"""The fixtures of tests/fixtures/fence_world.py, for the tests here."""

from fixtures.fence_world import api_server, world

__all__ = ["api_server", "world"]
