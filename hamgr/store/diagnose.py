"""Finds out why no member of etcd answers, because gRPC's own words ("Socket closed") send nobody to the right place.

Used when there has never been an answer, so that a wrong setting is told from an outage. It opens a connection of its
own to each member: name, then port, then TLS.
"""

from __future__ import annotations

import socket
import ssl

from hamgr.store.config import Address, StoreConfig
from hamgr.store.errors import StoreConfigError, StoreError, StoreUnavailable

PROBE_TIMEOUT_S = 1.0


def explain_silence(config: StoreConfig, last_words: str) -> StoreError:
    """The error to raise after the first contact failed at every member. `last_words` is gRPC's own reason."""
    findings = [probe(config, address) for address in config.addresses]
    settings = [finding for finding in findings if isinstance(finding, StoreConfigError)]
    if settings and len(settings) == len(findings):
        return settings[0]
    told = [str(finding) for finding in findings if finding is not None]
    if told:
        return StoreUnavailable("; ".join(dict.fromkeys(told)))
    members = ", ".join(str(address) for address in config.addresses)
    return StoreUnavailable(
        f"etcd at {members} accepts connections but does not answer ({last_words}): "
        "it may have lost its quorum; see `etcdctl endpoint status`"
    )


def probe(config: StoreConfig, address: Address) -> StoreError | None:
    """What keeps us from talking to this member, or None when a connection can be made."""
    try:
        with socket.create_connection((address.host, address.port), timeout=PROBE_TIMEOUT_S) as connection:
            return _probe_tls(config, address, connection) if address.tls else _probe_clear(address, connection)
    except socket.gaierror:
        return StoreUnavailable(f"the name {address.host} of etcd endpoint {address} is unknown: check it, or DNS")
    except ConnectionRefusedError:
        return StoreUnavailable(
            f"connection refused by etcd endpoint {address}: start etcd there, or correct host and port"
        )
    except TimeoutError:
        return StoreUnavailable(f"no answer from etcd endpoint {address}: check the host, and firewalls on the way")
    except OSError as error:
        return StoreUnavailable(f"etcd endpoint {address} cannot be reached: {error.strerror or error}")


def _probe_tls(config: StoreConfig, address: Address, connection: socket.socket) -> StoreError | None:
    try:
        context = ssl.create_default_context(cafile=str(config.ca))
        if config.cert and config.key:
            context.load_cert_chain(config.cert, config.key)
    except ssl.SSLError as error:
        files = ", ".join(str(path) for path in (config.ca, config.cert, config.key) if path)
        return StoreConfigError(f"the certificate files {files} cannot be used: {error.reason or error}")
    context.set_alpn_protocols(["h2"])
    shaken_hands = False
    try:
        with context.wrap_socket(connection, server_hostname=address.host) as secured:
            shaken_hands = True
            # With TLS 1.3 the server's refusal of our certificate arrives after the handshake.
            secured.settimeout(0.3)
            try:
                return None if secured.recv(1) else _client_certificate_refused(address)
            except TimeoutError:
                return None
    except ssl.SSLCertVerificationError as error:
        return StoreConfigError(
            f"the certificate of etcd endpoint {address} is not to be trusted: {error.verify_message}; "
            f"check the CA file {config.ca} and the endpoint's name"
        )
    except (ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "reason", "") or ""
        # A server that does not know TLS answers in clear text, ends the connection or resets it: a matter of timing.
        no_tls = isinstance(error, ssl.SSLEOFError | ConnectionError) and not shaken_hands
        if no_tls or "WRONG_VERSION_NUMBER" in reason or "before TLS handshake" in reason:
            return StoreConfigError(f"etcd endpoint {address} does not speak TLS: write http:// for it")
        if "ALERT" in reason.upper() or isinstance(error, ssl.SSLEOFError | ConnectionError):
            return _client_certificate_refused(address)
        return StoreConfigError(f"no TLS connection to etcd endpoint {address}: {reason or error}")


def _client_certificate_refused(address: Address) -> StoreConfigError:
    return StoreConfigError(
        f"etcd endpoint {address} refused our client certificate: set a certificate and key signed by etcd's CA"
    )


def _probe_clear(address: Address, connection: socket.socket) -> StoreError | None:
    connection.settimeout(PROBE_TIMEOUT_S)
    connection.sendall(b"GET /version HTTP/1.0\r\n\r\n")
    answer = connection.recv(64)
    if answer.startswith(b"HTTP/") and b" 400 " in answer:
        return StoreConfigError(f"etcd endpoint {address} speaks TLS: write https:// for it and set the CA file")
    if not answer or answer[:1] == b"\x15":
        return StoreConfigError(f"etcd endpoint {address} speaks TLS: write https:// for it and set the CA file")
    return None
