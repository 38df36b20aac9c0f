"""Fixtures that every test may ask for; see the modules in tests/fixtures."""

pytest_plugins = ["fixtures.etcd"]
