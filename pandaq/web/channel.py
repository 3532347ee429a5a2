"""One connection: its requests are read, and answered without a thread that waits in between.

waitress' thread    reads a request
a worker thread     has it answered; what is pending is left at the desk
waitress' thread    writes the answer when it is there, or gives it to a worker

A request whose answer takes no time to begin is not given to a worker: to wake one takes longer.
"""

from http import HTTPStatus
from typing import Any, Final, cast

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask

from pandaq.web.answer import Answer, Pending
from pandaq.web.app import App
from pandaq.web.desk import Desk
from pandaq.web.payloads import STATUS, failure

OVERSIZE_FACTOR: Final = 4
"""Bodies up to so many times `maxBodyBytes` are read to their end and then refused, so that the
client hears why; beyond it the connection is closed while the client still sends."""


JOINED_BYTES: Final = 128 * 1024
"""A body up to this size is sent with its head, in one call of the system and few packets."""


class _AnswerTask(WSGITask):
    """Writes the answer that its channel has got."""

    def execute(self) -> None:
        answer = cast("Channel", self.channel).take_answer()
        self.complete = True
        self.status = answer.status
        self.response_headers = answer.headers
        self.content_length = len(answer.body)
        pieces = [self.build_response_header()]
        self.wrote_header = True
        if cast("Any", self.request).command != "HEAD":
            pieces.append(answer.body)
        if len(answer.body) <= JOINED_BYTES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self.channel.write_soon(piece)


class _JsonErrorTask(ErrorTask):
    """Says in the contract's JSON what waitress itself refuses."""

    def execute(self) -> None:
        error = cast("Any", self.request).error  # The stubs take the request for its error.
        match error.code:
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                most = self.channel.adj.max_request_body_size // OVERSIZE_FACTOR
                code, what = (
                    "PAYLOAD_TOO_LARGE",
                    f"the body may have at most {most} bytes (maxBodyBytes)",
                )
            case HTTPStatus.INTERNAL_SERVER_ERROR:
                code, what = "INTERNAL_ERROR", "a defect of the broker; its log has the details"
            case _:
                code = "INVALID_REQUEST"
                what = f"the request cannot be read ({error.reason}: {error.body})"
        body = failure(code, what)
        status = HTTPStatus(STATUS[code])
        self.status = f"{status.value} {status.phrase}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Parser(HTTPRequestParser):
    """Refuses also what waitress stumbles over, and would drop the connection for."""

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            # A Content-Length of thousands of digits; a URI such as "http://[".
            raise ParsingError(str(error)) from error


class Dispatcher(ThreadedTaskDispatcher):
    """Gives requests to worker threads, but for those that a channel begins at once."""

    def add_task(self, task: Task) -> None:
        """Have the first request of a channel answered; from any thread."""
        if not cast("Channel", task).begins_at_once():
            super().add_task(task)


class Channel(HTTPChannel):
    """A connection of waitress' whose requests `app` answers, and whose pending ones `desk` has.

    The other arguments are those that waitress makes a channel with.
    """

    parser_class = _Parser
    task_class = _AnswerTask
    error_task_class = _JsonErrorTask

    def __init__(self, app: App, desk: Desk, *args: Any, **options: Any) -> None:
        self._app = app
        self._desk = desk
        self._answer: Answer | None = None
        self._pending: Pending | None = None
        super().__init__(*args, **options)

    def begins_at_once(self) -> bool:
        """Begin the first request if that takes no time; tell whether nobody is needed for it."""
        request: Any = self.requests[0]
        if self._pending or request.error:
            return False
        is_quick = self._app.is_quick(request.path, request.body_bytes_received)
        return is_quick and self._begin()

    def service(self) -> None:
        """Answer the first request; where that has to wait, leave, and be called again."""
        request: Any = self.requests[0]
        if self.connected and not request.error:
            if self._pending:
                self._answer = self._pending.answer()
            elif not self._answer and self._begin():
                return
        # The channel may have its next request before this returns.
        self._pending = None
        super().service()

    def take_answer(self) -> Answer:
        """Return the answer to write."""
        answer, self._answer = self._answer, None
        return cast("Answer", answer)

    def handle_close(self) -> None:
        """Forget the client, who may have waited."""
        super().handle_close()
        if pending := self._pending:
            pending.end_wait()

    def _begin(self) -> bool:
        """Begin to answer the first request; tell whether its answer is still to come."""
        task = WSGITask(self, cast("Any", self.requests[0]))
        answer = self._app.begin(task.get_environment())
        if not isinstance(answer, Pending):
            self._answer = answer
            return False
        self._pending = answer
        self._desk.park(answer, self._resume)
        return True

    def _resume(self) -> None:
        """Go on in waitress' own thread, unless that might hold it up."""
        pending = self._pending
        if pending and pending.is_quick and not self.total_outbufs_len:
            self.service()
        else:
            self.server.add_task(cast("Any", self))
