"""The Bottle app: its routes, and what happens around every one of them."""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import bottle

from pandaq.actors.system import System
from pandaq.errors import (
    BufferFull,
    DelayFull,
    InvalidRequest,
    MethodNotAllowed,
    PandaqError,
    RouteNotFound,
    ShuttingDown,
)
from pandaq.web import consumers, operators, producers
from pandaq.web.answer import Answer, Later, Pending, PendingBody
from pandaq.web.payloads import Pieces, failure, status_of, success
from pandaq.web.request import Request

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 1
"""What a producer is told to wait when the backlog is at its limit."""

QUICK_BYTES: Final = 128 * 1024
"""A body up to this size is decoded in less time than it takes to give it to another thread."""

QUICK_PATHS: Final = ("/ingress/", "/consume/", "/commit", "/nack")
"""Where they begin whose routes return what is still to come."""

Handler = Callable[..., dict[str, Any] | Pieces | Later]
"""A route: takes the broker, the request and the path's parts; returns the answer's data, or where
they will come from."""

_ANSWER: Final = "pandaq.answer"
"""Where in its environment a request's answer is left for who called Bottle."""
_STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class App:
    """A WSGI application in front of a broker.

    A server that calls `begin` in place of the application needs no thread for what is pending.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._timeout_s = system.config.ask_timeout_ms / 1000
        self._stopping = False
        self._bottle = bottle.Bottle()
        self._bottle.default_error_handler = self._bottle_error
        self._bottle.add_hook("before_request", _check_path)
        room = consumers.WaitingRoom(system.config.max_waiting)
        self._route("POST", "/ingress/<topic_id>", producers.append)
        self._route("POST", "/register/<topic_id>", consumers.register)
        self._route("GET", "/consume/<broker_id>/<topic_id>/<partition_id>", room.consume)
        self._route("POST", "/heartbeat/<topic_id>", consumers.heartbeat)
        self._route("POST", "/unregister/<topic_id>", consumers.unregister)
        self._route("POST", "/commit", consumers.commit)
        self._route("POST", "/seek", consumers.seek)
        self._route("POST", "/nack", consumers.nack)
        self._route("POST", "/redrive/<topic_id>", operators.redrive)
        self._route("DELETE", "/groups/<topic_id>/<group:path>", operators.delete_group)
        self._route("GET", "/stats", operators.stats)
        self._route("GET", "/health", operators.health)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        answer = self.begin(environ)
        if isinstance(answer, Pending):
            return PendingBody(answer, start_response)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def begin(self, environ: dict[str, Any]) -> Answer | Pending:
        """Answer one request, or return what its answer will come from."""
        self._bottle(environ, _ignore_start)
        answer: Answer | Pending = environ.pop(_ANSWER, None) or _defect()
        return answer

    def is_quick(self, path: str, body_bytes: int) -> bool:
        """Tell whether `begin` takes no time for a request: it waits for nobody, and reads little.

        >>> from pandaq import Broker
        >>> App(Broker()).is_quick("/ingress/orders", 200)
        True
        """
        return path.startswith(QUICK_PATHS) and body_bytes <= QUICK_BYTES

    def stop(self) -> None:
        """Refuse all requests from now on; those in flight are answered, who waits at once."""
        self._stopping = True
        self._system.wake_all()

    def _route(self, method: str, path: str, handler: Handler) -> None:
        def answer(**parts: str) -> bytes:
            environ = bottle.request.environ
            environ[_ANSWER] = self._answer(handler, environ, parts)
            return b""

        # Bottle's plugins would only look at what is no concern of theirs.
        self._bottle.route(path, method, answer, skip=True)

    def _answer(
        self, handler: Handler, environ: dict[str, Any], parts: dict[str, str]
    ) -> Answer | Pending:
        """Do one route."""
        try:
            self._check_running()
            request = Request(environ, self._system.config.max_body_bytes)
            data = handler(self._system, request, **parts)
        except Exception as error:  # noqa: BLE001 (the answer tells of it)
            return _failed(error)
        if isinstance(data, Later):
            return Pending(data, self._timeout_s, _finish)
        return _finish(lambda: data)

    def _check_running(self) -> None:
        if self._stopping:
            raise ShuttingDown

    def _bottle_error(self, error: bottle.HTTPError) -> bytes:
        """Say in the contract's JSON what Bottle itself found wrong."""
        environ = bottle.request.environ
        environ[_ANSWER] = _bottle_failed(error, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        return b""


def _ignore_start(_status: str, _headers: list[tuple[str, str]], _failure: object = None) -> None:
    """Take what Bottle would say of the answer, which says it itself."""


def _check_path() -> None:
    """Refuse a path that is not UTF-8, of which Bottle drops the wrong bytes."""
    path: str = bottle.request.environ["bottle.raw_path"]
    if not path.isascii():
        try:
            path.encode("latin-1").decode()
        except UnicodeDecodeError:
            raise bottle.HTTPError(400, "its path is not valid UTF-8") from None


def _bottle_failed(error: bottle.HTTPError, method: str, path: str) -> Answer:
    match error.status_code:
        case 404:
            return _failed(RouteNotFound(path[:200]))
        case 405:
            return _failed(MethodNotAllowed(method[:20], path[:200], error.get_header("Allow")))
        case 400:
            return _failed(InvalidRequest(f"the request cannot be read: {error.body}"))
    logger.error("a defect of the broker in %s %s: %r", method, path[:200], error.body)
    return _defect()


def _finish(call: Callable[[], Any]) -> Answer:
    """Turn what a call returns, or raises, into the contract's JSON."""
    try:
        return _answer(HTTPStatus.OK, success(call()))
    except Exception as error:  # noqa: BLE001 (the answer tells of it)
        return _failed(error)


def _failed(error: Exception) -> Answer:
    if not isinstance(error, PandaqError):
        logger.error("a defect of the broker", exc_info=error)
        return _defect()
    headers = []
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", error.allowed))
    if isinstance(error, BufferFull | DelayFull | ShuttingDown):
        headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return _answer(status_of(error), failure(error.code, str(error)), *headers)


def _defect() -> Answer:
    sentence = "a defect of the broker; its log has the details"
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, failure("INTERNAL_ERROR", sentence))


def _answer(status: int, body: bytes, *headers: tuple[str, str]) -> Answer:
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Answer(_STATUS_LINES[status], [*own, *headers], body)
