"""Fixtures that every test may ask for; see the modules in tests/fixtures."""

import pytest

pytest.register_assert_rewrite("fixtures")  # what an audit has found is to be read in its failure
pytest_plugins = ["fixtures.etcd"]
