"""One broker's URL, and calls to it: credentials, timeouts and retries."""

import base64
import random
import time
from collections.abc import Callable
from typing import TypedDict
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from pandaq_sdk.envelope import Answer, decode
from pandaq_sdk.errors import ClientClosed, ConnectionFailed
from pandaq_sdk.retry import Retry, retry_after_s
from pandaq_sdk.transport import HttpAnswer, Transport

# 507 is not here: a full disk is not emptied within seconds.
_RETRIED_STATUSES = frozenset({429, 503})
_RETRIED_ERRORS = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,  # the answer broke off
)


class ConnectionOptions(TypedDict, total=False):
    """The keyword arguments that a producer and a consumer have in common.

    - `username` and `password`: HTTP Basic credentials, in UTF-8. Or `token`: a bearer token.
      Given ones win over a `.netrc`; both kinds at once are a `ValueError`.
    - `timeout_s` (30): for connecting, and for each silence while an answer is awaited; a long
      poll may be silent for its wait in addition.
    - `retries` (5): further attempts after a connection error, a timeout, a 429 or a 503;
      0 switches them off.
    - `max_retry_delay_s` (30): what the waits between attempts may add up to. An answer whose
      `Retry-After` asks for more than is left of it is raised at once.
    - `sleep` and `jitter`: where waits and their randomness come from; for tests.

    Proxies, certificates and `.netrc` come from the environment as `requests` has it, and are
    read once, not for every call.
    """

    username: str | None
    password: str | None
    token: str | None
    timeout_s: float
    retries: int
    max_retry_delay_s: float
    sleep: Callable[[float], None]
    jitter: Callable[[], float]


class Connection:
    """Calls to the broker at one URL; for one thread, and no I/O until the first call.

        connection = Connection("http://localhost:3000", token="s3cret")
        answer = connection.call("POST", "/commit", body=b'{"topicId": …}')
        answer.integer("newReadOffset")

    The options are those of `ConnectionOptions`. Raises `ValueError` for those that cannot be
    right.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 5,
        max_retry_delay_s: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s}; it must be more than 0")
        self.retry = Retry(retries, max_retry_delay_s, sleep, jitter)
        self._base_url = _checked_url(base_url)
        self._timeout_s = timeout_s
        self._transport = Transport(self._base_url, _authorization(username, password, token))
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def call(
        self, method: str, path: str, *, body: bytes | None = None, wait_s: float = 0.0
    ) -> Answer:
        """Make one call, trying again as `Retry` allows, and return the data of its answer.

        `path` is quoted already and may have a query; `body` is JSON; `wait_s` is how long the
        broker was asked to wait before it answers. Raises `BrokerError`, `ConnectionFailed`,
        `UnexpectedAnswer` and `ClientClosed`.
        """
        call = f"{method} {self._base_url}{path}"
        attempt = 0
        slept_s = 0.0
        while True:
            try:
                response = self._send(method, path, body, wait_s)
            except requests.exceptions.RequestException as error:
                delay_s = self._delay_after(error, attempt, slept_s)
                if delay_s is None:
                    raise ConnectionFailed(call, attempt + 1, error) from error
            else:
                delay_s = self._delay_after(response, attempt, slept_s)
                if delay_s is None:
                    return decode(call, response.status, response.body)
            self.retry.sleep(delay_s)
            slept_s += delay_s
            attempt += 1

    def close(self) -> None:
        """Close the sockets; what is called afterwards raises `ClientClosed`."""
        self._closed = True
        self._transport.close()

    def _send(self, method: str, path: str, body: bytes | None, wait_s: float) -> HttpAnswer:
        if self._closed:
            raise ClientClosed
        timeout_s = (self._timeout_s, self._timeout_s + wait_s)
        return self._transport.send(method, path, body, timeout_s)

    def _delay_after(
        self, outcome: HttpAnswer | Exception, attempt: int, slept_s: float
    ) -> float | None:
        if isinstance(outcome, Exception):
            lasting = not isinstance(outcome, _RETRIED_ERRORS)
            return None if lasting else self.retry.delay_s(attempt, slept_s)
        if outcome.status not in _RETRIED_STATUSES:
            return None
        after_s = retry_after_s(outcome.headers.get("Retry-After"), outcome.headers.get("Date"))
        return self.retry.delay_s(attempt, slept_s, after_s)


def path_segment(name: str, value: str) -> str:
    """Return `value` quoted for one segment of a path; `name` names it in the error.

    Raises `ValueError` for what a path cannot carry.

    >>> path_segment("topic_id", "a/b ü")
    'a%2Fb%20%C3%BC'
    """
    if value in {"", ".", ".."}:  # HTTP clients and proxies resolve these, even quoted
        raise ValueError(f"{name} is {value!r}, which a URL cannot carry; use a real name")
    return quote(value, safe="")


class _Authorization(AuthBase):
    """Sets the header itself: requests would write Basic in Latin-1 and let .netrc replace it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _authorization(
    username: str | None, password: str | None, token: str | None
) -> _Authorization | None:
    if token is not None:
        if username is not None or password is not None:
            raise ValueError("both a token and a username or password are given; give one kind")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("token must be visible ASCII characters without spaces")
        return _Authorization(f"Bearer {token}")
    if username is None and password is None:
        return None
    if username is None or password is None:
        raise ValueError("username and password go together; one of them is missing")
    if ":" in username:
        raise ValueError(f"username is {username!r}; HTTP Basic allows no ':' in it")
    credentials = base64.b64encode(f"{username}:{password}".encode())
    return _Authorization(f"Basic {credentials.decode('ascii')}")


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if "@" in parts.netloc:  # not quoted in the error: it has a password in it
        raise ValueError("base_url has credentials in it; give username= and password= instead")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"base_url is {base_url!r}; it must begin with http:// or https:// and name a host, "
            "as in http://localhost:3000"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"base_url is {base_url!r}; it must have no '?' and no '#'")
    return base_url.rstrip("/")
