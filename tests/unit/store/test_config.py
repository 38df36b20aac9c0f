"""Wrong etcd settings are named before anything is sent."""

from pathlib import Path
from typing import Any

import pytest

from hamgr.store import StoreConfig, StoreConfigError


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return path


def test_addresses() -> None:
    config = StoreConfig(("http://127.0.0.1:2400", "etcd-2", "http://[::1]"), cluster="prod")
    assert [address.netloc for address in config.addresses] == ["127.0.0.1:2400", "etcd-2:2379", "[::1]:2379"]
    assert config.prefix == "/hamgr/prod/"


def test_the_password_is_not_shown(pem: Path) -> None:
    config = StoreConfig(("https://a",), ca=pem, user="hamgr", password="secret")
    assert "secret" not in repr(config)


@pytest.mark.parametrize(
    ("endpoints", "settings", "sentence"),
    [
        ((), {}, "no etcd endpoint is set"),
        (("ftp://a",), {}, "'ftp://a' is no address"),
        (("http://a:port",), {}, "'http://a:port' is no address"),
        (("http://a/path",), {}, "'http://a/path' is no address"),
        (("http://a", "https://b"), {}, "mix http:// and https://"),
        (("http://a",), {"cluster": "a/b"}, "cluster name 'a/b'"),
        (("http://a",), {"user": "u", "password": "p"}, "in clear text"),
        (("http://a",), {"user": "u"}, "in clear text"),
        (("http://a",), {"ca": Path("ca.pem")}, "endpoints say http://"),
        (("https://a",), {}, "need the CA"),
        (("https://a",), {"ca": Path("/nonexistent/ca.pem")}, "/nonexistent/ca.pem cannot be read: No such file"),
        (("http://a",), {"silence_s": 0}, "silence_s must be more than 0"),
    ],
)
def test_complaints(endpoints: tuple[str, ...], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StoreConfigError) as error:
        StoreConfig(endpoints, **settings)
    assert sentence in str(error.value)


def test_halves_of_pairs(pem: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreConfigError, match="certificate and key belong together"):
        StoreConfig(("https://a",), ca=pem, cert=pem)
    with pytest.raises(StoreConfigError, match="user and password belong together"):
        StoreConfig(("https://a",), ca=pem, user="u")
    binary = tmp_path / "ca.der"
    binary.write_bytes(b"\x30\x82")
    with pytest.raises(StoreConfigError, match="is not PEM"):
        StoreConfig(("https://a",), ca=binary)
