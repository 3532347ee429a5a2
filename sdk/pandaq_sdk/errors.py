"""Everything that the client library raises on purpose, as one tree.

    PandaqSdkError
    ├── NotEncodable                  the values given are no JSON; nothing was sent
    ├── ClientClosed                  used after close(); nothing was sent
    ├── SendBufferFull                too much waits to be sent; this message was not taken
    ├── FlushTimedOut                 not everything sent was answered in time
    ├── SenderStopped                 the thread that sends in the background ended
    ├── ConnectionFailed              no answer came; the outcome may be unknown
    ├── UnexpectedAnswer              an answer that no broker gives, such as a proxy's page
    └── BrokerError                   the broker refused; has status and error_code
        ├── InvalidRequest            400 INVALID_REQUEST
        │   └── InvalidOffset         400 INVALID_OFFSET
        ├── Unauthenticated           401 UNAUTHENTICATED
        ├── Forbidden                 403 FORBIDDEN
        ├── NotFound                  404 BROKER_NOT_FOUND, TOPIC_NOT_FOUND, …
        ├── NoPartitionAvailable      409 NO_PARTITION_AVAILABLE
        ├── NotAssigned               409 NOT_ASSIGNED
        ├── PayloadTooLarge           413 PAYLOAD_TOO_LARGE
        └── Unavailable               503 SHUTTING_DOWN, STORAGE_FAILED: right, but not now
            ├── OutcomeUnknown        503 TIMEOUT
            ├── BufferFull            429 BUFFER_FULL
            └── StorageFull           507 STORAGE_FULL

A code that this version does not know becomes the error of its status, or a plain `BrokerError`.
"""


class PandaqSdkError(Exception):
    """Any error that the client library raises on purpose, other than a wrong argument."""


class NotEncodable(PandaqSdkError, ValueError):
    """What was given cannot be written as JSON in UTF-8; nothing was sent.

    `what` names the value, such as `messages[3]`; `reason` says what is wrong with it.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.what} cannot be written as JSON ({self.reason}), so nothing was sent; "
            "use text, finite numbers, true, false, null, lists and objects of these"
        )


class ClientClosed(PandaqSdkError):
    """A producer or consumer was used after it was closed; nothing was sent."""

    def __str__(self) -> str:
        return "this client is closed; make a new one"


class SendBufferFull(PandaqSdkError):
    """A message found no room within `waited_s` seconds and was not taken.

    `count` messages of `size_bytes` bytes waited for the broker or were on their way.
    """

    def __init__(self, count: int, size_bytes: int, waited_s: float) -> None:
        super().__init__(count, size_bytes, waited_s)
        self.count = count
        self.size_bytes = size_bytes
        self.waited_s = waited_s

    def __str__(self) -> str:
        return (
            f"{self.count} messages ({self.size_bytes} bytes) wait to be sent and there was no "
            f"room for one more within {self.waited_s} s, so it was not taken; send less, check "
            "that the broker is up, or raise buffer_max, buffer_max_bytes or send_timeout_s"
        )


class FlushTimedOut(PandaqSdkError):
    """After `timeout_s` seconds, `unanswered` messages still had no answer.

    They are sent all the same, and their futures get their outcomes.
    """

    def __init__(self, unanswered: int, timeout_s: float) -> None:
        super().__init__(unanswered, timeout_s)
        self.unanswered = unanswered
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return (
            f"{self.unanswered} messages were not answered within {self.timeout_s} s; they are "
            "still being sent: wait longer, or look at their futures"
        )


class SenderStopped(PandaqSdkError):
    """The thread that sends in the background ended without being asked to; `reason` says why.

    A message given to it may or may not have been kept. Raised by `send` itself, the message was
    not taken.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the thread that sends in the background has ended ({self.reason}), so what was not "
            "answered may or may not have been kept; make a new Producer"
        )


class ConnectionFailed(PandaqSdkError):
    """No whole answer came in time, after `attempts` attempts.

    `cause` is what the last attempt died of. Unless that was while connecting, the broker may
    have carried the call out.
    """

    def __init__(self, call: str, attempts: int, cause: Exception) -> None:
        super().__init__(call, attempts, cause)
        self.call = call
        self.attempts = attempts
        self.cause = cause

    def __str__(self) -> str:
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return (
            f"no answer to {self.call} after {attempts} ({self.cause}); "
            "check the URL and that the broker is up"
        )


class UnexpectedAnswer(PandaqSdkError):
    """The answer is none that a broker gives: no JSON, or JSON of another shape.

    `status` is its HTTP status; `reason` says what was missing and quotes the start of the body.
    """

    def __init__(self, call: str, status: int, reason: str) -> None:
        super().__init__(call, status, reason)
        self.call = call
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the answer to {self.call}, status {self.status}, is not a broker's: {self.reason}; "
            "check that the URL is the broker's and what proxies are in between"
        )


class BrokerError(PandaqSdkError):
    """The broker refused the call: HTTP `status`, the contract's `error_code`, its sentence."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(status, error_code, message)
        self.status = status
        self.error_code = error_code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.error_code})"


class InvalidRequest(BrokerError):
    """The body, the path or the query is not as the contract has it."""


class InvalidOffset(InvalidRequest):
    """A commit below the readOffset or beyond the logEndOffset."""


class Unauthenticated(BrokerError):
    """The broker wants credentials, or does not know those given."""


class Forbidden(BrokerError):
    """The credentials are known but do not allow this."""


class NotFound(BrokerError):
    """No such broker, topic, partition, consumer or path; `error_code` says which."""


class NoPartitionAvailable(BrokerError):
    """Every partition of the topic has its consumer."""


class NotAssigned(BrokerError):
    """The partition is not, or no longer, this consumer's."""


class PayloadTooLarge(BrokerError):
    """A message, a batch or a body is over the broker's limit."""


class Unavailable(BrokerError):
    """The call may be right, but the broker cannot serve it now; raised after all retries."""


class OutcomeUnknown(Unavailable):
    """The broker gave up waiting for itself: the call may still be carried out."""


class BufferFull(Unavailable):
    """The broker's backlog is at its limit; nothing of the request was kept."""


class StorageFull(Unavailable):
    """The broker's disk is full; nothing of the request was kept, and it was not retried."""


def broker_error(status: int, error_code: str, message: str) -> BrokerError:
    """Return the error for a refusal, by its code if that is known, else by its status.

    >>> broker_error(404, "TOPIC_NOT_FOUND", "there is no topic 'x'")
    NotFound(404, 'TOPIC_NOT_FOUND', "there is no topic 'x'")
    >>> broker_error(418, "TEAPOT", "no coffee")
    BrokerError(418, 'TEAPOT', 'no coffee')
    """
    kind = _BY_CODE.get(error_code) or _BY_STATUS.get(status, BrokerError)
    return kind(status, error_code, message)


_BY_CODE: dict[str, type[BrokerError]] = {
    "INVALID_OFFSET": InvalidOffset,
    "NO_PARTITION_AVAILABLE": NoPartitionAvailable,
    "NOT_ASSIGNED": NotAssigned,
    "TIMEOUT": OutcomeUnknown,
}

_BY_STATUS: dict[int, type[BrokerError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: PayloadTooLarge,
    429: BufferFull,
    503: Unavailable,
    507: StorageFull,
}
