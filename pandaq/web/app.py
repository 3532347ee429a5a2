"""The Bottle app: its routes, and what happens around every one of them."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

import bottle

from pandaq.actors.system import System
from pandaq.errors import (
    BufferFull,
    InvalidRequest,
    MethodNotAllowed,
    PandaqError,
    RouteNotFound,
    ShuttingDown,
)
from pandaq.web import consumers, operators, producers
from pandaq.web.payloads import failure, status_of, success
from pandaq.web.request import Request

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 1
"""What a producer is told to wait when the backlog is at its limit."""

Handler = Callable[..., dict[str, Any] | bytes]
"""A route: takes the broker, the request and the path's parts; returns the answer's data."""


class App:
    """A WSGI application in front of a broker."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stopping = False
        self._bottle = bottle.Bottle()
        self._bottle.default_error_handler = self._bottle_error
        self._bottle.add_hook("before_request", _check_path)
        room = consumers.WaitingRoom(system)
        self._route("POST", "/ingress/<topic_id>", producers.append)
        self._route("POST", "/register/<topic_id>", consumers.register)
        self._route("GET", "/consume/<broker_id>/<topic_id>/<partition_id>", room.consume)
        self._route("POST", "/commit", consumers.commit)
        self._route("GET", "/stats", operators.stats)
        self._route("GET", "/health", operators.health)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        answer: Iterable[bytes] = self._bottle(environ, start_response)
        return answer

    def stop(self) -> None:
        """Refuse all requests from now on; those in flight are answered, who waits at once."""
        self._stopping = True
        self._system.wake_all()

    def _route(self, method: str, path: str, handler: Handler) -> None:
        self._bottle.route(path, method, lambda **parts: self._answer(handler, parts))

    def _answer(self, handler: Handler, parts: dict[str, str]) -> bytes:
        """Do one route; turn what it returns, or raises, into the contract's JSON."""
        environ = bottle.request.environ
        bottle.response.content_type = "application/json"
        try:
            self._check_running()
            request = Request(environ, self._system.config.max_body_bytes)
            return success(handler(self._system, request, **parts))
        except PandaqError as error:
            return _failed(error)
        except Exception:
            logger.exception("a defect of the broker in %s %s", environ["REQUEST_METHOD"], parts)
            return _defect()

    def _check_running(self) -> None:
        if self._stopping:
            raise ShuttingDown

    def _bottle_error(self, error: bottle.HTTPError) -> bytes:
        """Say in the contract's JSON what Bottle itself found wrong."""
        environ = bottle.request.environ
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        match error.status_code:
            case 404:
                reason: PandaqError = RouteNotFound(path[:200])
            case 405:
                reason = MethodNotAllowed(method[:20], path[:200], error.get_header("Allow"))
            case 400:
                reason = InvalidRequest(f"the request cannot be read: {error.body}")
            case _:
                logger.error("a defect of the broker in %s %s: %r", method, path[:200], error.body)
                return _defect()
        return _failed(reason)


def _check_path() -> None:
    """Refuse a path that is not UTF-8, of which Bottle drops the wrong bytes."""
    path: str = bottle.request.environ["bottle.raw_path"]
    if not path.isascii():
        try:
            path.encode("latin-1").decode()
        except UnicodeDecodeError:
            raise bottle.HTTPError(400, "its path is not valid UTF-8") from None


def _failed(error: PandaqError) -> bytes:
    bottle.response.content_type = "application/json"
    bottle.response.status = status_of(error)
    if isinstance(error, MethodNotAllowed):
        bottle.response.set_header("Allow", error.allowed)
    if isinstance(error, BufferFull | ShuttingDown):
        bottle.response.set_header("Retry-After", str(RETRY_AFTER_S))
    return failure(error.code, str(error))


def _defect() -> bytes:
    bottle.response.content_type = "application/json"
    bottle.response.status = 500
    return failure("INTERNAL_ERROR", "a defect of the broker; its log has the details")
