"""Calls to etcd that answer in bounded time or raise a sentence; the only module that imports the client library.

The client library (cslab-etcd3) is used by rules that were each measured: no default client (it shuts a failed member
out for 300 s), HTTP/2 pings so that a hung member is noticed in seconds, a new client when an access token is void.
Its client object is not thread-safe when it changes members (it blames whichever member is current), so each call has
one for itself, from a pool; the members' channels and what is known about their failures are shared.

Thread-safe. Do not fork a process that holds an open Connection; starting programs (exec) is fine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

# gRPC's C core writes to stderr on its own; what matters of it comes back as exceptions.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import etcd3
import etcd3.etcdrpc as etcdrpc
import etcd3.exceptions
import grpc

from hamgr.clock import boottime
from hamgr.store.config import Address, StoreConfig
from hamgr.store.diagnose import explain_silence
from hamgr.store.errors import LeaseLost, StoreAuthError, StoreConfigError, StoreError, StoreUnavailable

T = TypeVar("T")

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 6000),  # below 5 s etcd punishes pings with GOAWAY
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),  # without it a hung server is noticed after 67 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 << 20),
)
AVOID_FAILED_S = 2.0
PAUSE_S = 0.05
_TRANSIENT = (
    etcd3.exceptions.ConnectionFailedError,
    etcd3.exceptions.ConnectionTimeoutError,
    etcd3.exceptions.InternalServerError,
    etcd3.exceptions.NoServerAvailableError,
)


class Endpoint(etcd3.Endpoint):  # type: ignore[misc]
    """A member's channel that remembers failures by the monotonic clock: the library's wall clock can jump back."""

    def __init__(self, address: Address, credentials: Any, avoid_s: float) -> None:
        super().__init__(
            address.netloc.rpartition(":")[0],
            address.port,
            secure=address.tls,
            creds=credentials,
            time_retry=avoid_s,
            opts=CHANNEL_OPTIONS,
        )
        self.forgive()

    def fail(self) -> None:
        """Avoid this member for a while."""
        self.in_use = False
        self.last_failed = time.monotonic()

    def forgive(self) -> None:
        """Try this member again at once."""
        self.last_failed = float("-inf")

    def is_failed(self) -> bool:
        """Whether the member is to be avoided for now."""
        return time.monotonic() - float(self.last_failed) < float(self.time_retry)

    def use(self) -> Any:
        """The channel. Raises ValueError while the member is to be avoided, as the library expects."""
        if self.is_failed():
            raise ValueError(f"{self} has failed a moment ago")
        self.in_use = True
        return self.channel


class Connection:
    """A pool of clients over the configured members."""

    def __init__(self, config: StoreConfig, clock: Callable[[], float] = boottime) -> None:
        self.config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials = _credentials(config)
        avoid_s = AVOID_FAILED_S if len(config.addresses) > 1 else 0.0
        self._endpoints = [Endpoint(address, self._credentials, avoid_s) for address in config.addresses]
        self._idle: list[Any] = []
        self._token: str | None = None
        self._last_contact: float | None = None
        self._created = clock()
        self._closed = False

    def staleness_s(self) -> float:
        """Seconds since the request was sent whose answer is our newest linearizable view of etcd."""
        with self._lock:
            since = self._created if self._last_contact is None else self._last_contact
        return max(0.0, self._clock() - since)

    def call(
        self, operation: Callable[[Any], T], *, budget_s: float | None = None, linearizable: bool = True
    ) -> tuple[T, float]:
        """Run `operation(client)`, at other members when one fails, within `budget_s` (default: request_timeout_s).

        Returns its result and the monotonic time at which the successful attempt began. `linearizable` says that a
        result proves contact with a quorum. Raises StoreUnavailable, StoreAuthError, LeaseLost, StoreError.
        An attempt that failed may still take effect, even later: operations must be safe to repeat.
        """
        deadline = self._clock() + (self.config.request_timeout_s if budget_s is None else budget_s)
        renewed_token = False
        while True:
            sent = self._clock()
            try:
                result = self._attempt(operation, min(self.config.attempt_timeout_s, deadline - sent))
            except _TokenVoid as error:
                if renewed_token:
                    raise StoreAuthError(f"etcd does not accept our access token: {error}") from None
                renewed_token = True
                self._forget_token()
                continue
            except _Transient as error:
                if self._clock() + PAUSE_S >= deadline:
                    raise self._unavailable(str(error)) from None
                self._give_members_another_chance()
                time.sleep(PAUSE_S)
                continue
            if linearizable:
                self._note_contact(sent)
            return result, sent

    def watch_client(self, index: int) -> tuple[Any, Endpoint]:
        """A client with a channel of its own to member `index`; close the endpoint to end what runs on it."""
        address = self.config.addresses[index % len(self._endpoints)]
        endpoint = Endpoint(address, self._credentials, 0.0)
        client = etcd3.MultiEndpointEtcd3Client([endpoint], timeout=self.config.attempt_timeout_s)
        try:
            self._authorize(client)
        except BaseException as error:
            endpoint.close()
            if isinstance(error, grpc.RpcError):
                raise _translated(error, self.config) from None
            raise
        return client, endpoint

    def refresh_token(self) -> None:
        """Authenticate anew before the next call: a watch was told that its token is void."""
        self._forget_token()

    def close(self) -> None:
        """Close every channel; calls that run fail with StoreUnavailable."""
        with self._lock:
            self._closed = True
            self._idle.clear()
        for endpoint in self._endpoints:
            endpoint.close()

    def _attempt(self, operation: Callable[[Any], T], timeout_s: float) -> T:
        client = self._take()
        client.timeout = max(0.01, timeout_s)
        try:
            self._authorize(client)
            result = operation(client)
        except (grpc.RpcError, etcd3.exceptions.Etcd3Exception) as error:
            if isinstance(error, grpc.RpcError) and error.code() in _MEMBER_FAILED:
                client.endpoint_in_use.fail()  # the library does so itself, except while we authenticate
            raise _translated(error, self.config) from error
        except ValueError as error:
            if self._closed:
                raise StoreUnavailable("the connection to etcd is closed") from None
            raise StoreError(f"etcd client: {error}") from error
        self._give_back(client)
        return result

    def _take(self) -> Any:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the connection to etcd is closed")
            while self._idle:
                client = self._idle.pop()
                if not client.endpoint_in_use.is_failed():  # it would stick to a member that failed others
                    return client
        return etcd3.MultiEndpointEtcd3Client(self._endpoints, failover=True)

    def _give_back(self, client: Any) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(client)

    def _authorize(self, client: Any) -> None:
        if self.config.user is None:
            return
        token = self._token
        if token is None:
            request = etcdrpc.AuthenticateRequest(name=self.config.user, password=self.config.password)
            try:
                token = client.authstub.Authenticate(request, client.timeout).token
            except grpc.RpcError as error:
                if "authentication is not enabled" not in _details(error):
                    raise
                token = ""
            self._token = token
        client.metadata = (("token", token),) if token else None

    def _forget_token(self) -> None:
        with self._lock:
            self._token = None
            self._idle.clear()

    def _give_members_another_chance(self) -> None:
        if all(endpoint.is_failed() for endpoint in self._endpoints):
            for endpoint in self._endpoints:
                endpoint.forgive()

    def _note_contact(self, sent: float) -> None:
        with self._lock:
            self._last_contact = sent if self._last_contact is None else max(sent, self._last_contact)

    def _unavailable(self, last_words: str) -> StoreError:
        if self._last_contact is None:
            return explain_silence(self.config, last_words)
        members = ", ".join(str(address) for address in self.config.addresses)
        return StoreUnavailable(
            f"no member of etcd answers ({members}): {last_words}; last answer {self.staleness_s():.1f} s ago"
        )


class _Transient(Exception):
    """Another member, or the same one a moment later, may do better."""


class _TokenVoid(Exception):
    """The access token is not known to etcd: expired, or etcd was restarted."""


_MEMBER_FAILED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)


def _credentials(config: StoreConfig) -> Any:
    if config.ca is None:
        return None
    pem = [path.read_bytes() if path else None for path in (config.ca, config.key, config.cert)]
    try:
        return grpc.ssl_channel_credentials(*pem)
    except Exception as error:  # noqa: BLE001  (the C core raises what it likes for a bad file)
        raise StoreConfigError(f"the etcd certificate files cannot be used: {error}") from None


def _details(error: BaseException) -> str:
    """etcd's or gRPC's words; the library's exceptions carry them as their context."""
    source = error if isinstance(error, grpc.RpcError) else error.__context__
    details = source.details() if source is not None and hasattr(source, "details") else None
    return str(details or error or type(error).__name__).strip()


def _translated(error: BaseException, config: StoreConfig) -> Exception:
    words = _details(error)
    if isinstance(error, _TRANSIENT):
        return _Transient(words)
    if not isinstance(error, grpc.RpcError):
        return StoreError(f"etcd refused: {words}")
    code = error.code()
    if "invalid auth token" in words or code is grpc.StatusCode.UNAUTHENTICATED:
        return _TokenVoid(words)
    if "invalid user ID or password" in words:
        return StoreAuthError(f"etcd does not accept user {config.user!r} with this password: correct one of them")
    if "user name is empty" in words:
        return StoreAuthError("etcd wants a user and password, and none is set: set both in the etcd settings")
    if code is grpc.StatusCode.PERMISSION_DENIED:
        who = f"user {config.user!r}" if config.user else "our client certificate's name"
        return StoreAuthError(f"etcd denies {who} access below {config.prefix}: grant its role readwrite there")
    if "lease not found" in words:
        return LeaseLost(f"etcd does not know this lease any more: {words}")
    if "space exceeded" in words:
        return StoreUnavailable("etcd is out of space and takes no writes: compact, defragment and disarm its alarm")
    if code in (*_MEMBER_FAILED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED):
        return _Transient(words)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _Transient(words)
    return StoreError(f"etcd refused the request: {words}")
