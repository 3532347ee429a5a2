"""Everything that can go wrong, as one tree; each error has its code and its data.

    PandaqError
    ├── RequestError                what a caller sent cannot be done
    │   ├── InvalidRequest          INVALID_REQUEST
    │   ├── InvalidOffset           INVALID_OFFSET
    │   ├── RouteNotFound           NOT_FOUND
    │   ├── BrokerNotFound          BROKER_NOT_FOUND
    │   ├── TopicNotFound           TOPIC_NOT_FOUND
    │   ├── PartitionNotFound       PARTITION_NOT_FOUND
    │   ├── ConsumerNotFound        CONSUMER_NOT_FOUND
    │   ├── GroupNotFound           GROUP_NOT_FOUND
    │   ├── GroupInUse              GROUP_IN_USE
    │   ├── TooMany                 LIMIT_REACHED
    │   ├── NoPartitionAvailable    NO_PARTITION_AVAILABLE
    │   ├── NotAssigned             NOT_ASSIGNED
    │   ├── MethodNotAllowed        METHOD_NOT_ALLOWED
    │   ├── UnsupportedMediaType    UNSUPPORTED_MEDIA_TYPE
    │   └── PayloadTooLarge         PAYLOAD_TOO_LARGE
    ├── Unavailable                 right, but not now
    │   ├── BufferFull              BUFFER_FULL
    │   ├── DelayFull               BUFFER_FULL
    │   ├── ShuttingDown            SHUTTING_DOWN
    │   ├── OutcomeUnknown          TIMEOUT
    │   ├── StorageFailed           STORAGE_FAILED
    │   ├── StorageFull             STORAGE_FULL
    │   └── Unhealthy               STORAGE_FAILED (the answer of a health check)
    └── StartError                  the broker cannot start
        ├── ConfigError             a setting is wrong (see `pandaq.settings.SettingError`)
        └── DataDirError            the data directory cannot be used

The HTTP status of each code is in one table, in `pandaq.web.payloads`.
"""

from collections.abc import Sequence
from pathlib import Path


class PandaqError(Exception):
    """Any error that Panda-Q raises on purpose; `code` is the contract's `errorCode`."""

    code = "INTERNAL_ERROR"


class RequestError(PandaqError):
    """What the caller sent cannot be done; sending it again will not help."""


class InvalidRequest(RequestError):
    """A body, path or query is not as the contract has it; the sentence names the field."""

    code = "INVALID_REQUEST"


class InvalidOffset(RequestError):
    """A commit below the readOffset, or an offset that the log does not have.

    `act` is what was to be done with it; `lowest` and `log_end` are the bounds.
    """

    code = "INVALID_OFFSET"

    def __init__(self, offset: int, lowest: int, log_end: int, act: str = "committed") -> None:
        advice = "see /stats for what the partition has"
        name = ""
        if act == "committed":
            advice, name = "commit the endOffset of the batch that was handled", " (readOffset)"
        super().__init__(
            f"offset {offset} cannot be {act}: it must be from {lowest}{name} "
            f"to {log_end} (logEndOffset); {advice}"
        )
        self.offset = offset
        self.lowest = lowest
        self.log_end = log_end


class RouteNotFound(RequestError):
    """No such path."""

    code = "NOT_FOUND"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is nothing at {path}; see the README for the calls that there are")
        self.path = path


class BrokerNotFound(RequestError):
    """The client names another broker than this one."""

    code = "BROKER_NOT_FOUND"

    def __init__(self, given: str, own: str) -> None:
        super().__init__(
            f"this is broker '{own}', not '{given}'; check the URL or the brokerId of the client"
        )
        self.given = given
        self.own = own


class TopicNotFound(RequestError):
    """No such topic."""

    code = "TOPIC_NOT_FOUND"

    def __init__(self, topic_id: str) -> None:
        super().__init__(f"there is no topic '{topic_id}'; topics are created in the configuration")
        self.topic_id = topic_id


class PartitionNotFound(RequestError):
    """The topic has no such partition."""

    code = "PARTITION_NOT_FOUND"

    def __init__(self, topic_id: str, partition_id: int, partitions: int) -> None:
        super().__init__(
            f"topic '{topic_id}' has no partition {partition_id}; "
            f"its partitions are 0 to {partitions - 1}"
        )
        self.topic_id = topic_id
        self.partition_id = partition_id
        self.partitions = partitions


class ConsumerNotFound(RequestError):
    """No such consumer in the group: it never registered, it left, or its lease ran out."""

    code = "CONSUMER_NOT_FOUND"

    def __init__(self, topic_id: str, group: str, consumer_id: str) -> None:
        super().__init__(
            f"consumer '{consumer_id}' is not in {_the(group)} of topic '{topic_id}': it never "
            "registered, or its lease ran out; register again"
        )
        self.topic_id = topic_id
        self.group = group
        self.consumer_id = consumer_id


class GroupNotFound(RequestError):
    """The topic has no such group."""

    code = "GROUP_NOT_FOUND"

    def __init__(self, topic_id: str, group: str) -> None:
        super().__init__(
            f"topic '{topic_id}' has no group '{group}'; /stats lists those that there are"
        )
        self.topic_id = topic_id
        self.group = group


class GroupInUse(RequestError):
    """A group cannot be deleted while it has consumers."""

    code = "GROUP_IN_USE"

    def __init__(self, topic_id: str, group: str, consumer_ids: Sequence[str]) -> None:
        super().__init__(
            f"group '{group}' of topic '{topic_id}' still has consumers "
            f"({', '.join(consumer_ids[:3])}); stop and unregister them, then delete it"
        )
        self.topic_id = topic_id
        self.group = group
        self.consumer_ids = consumer_ids


class TooMany(RequestError):
    """There may be no more of something; `setting` is the limit's name."""

    code = "LIMIT_REACHED"

    def __init__(self, what: str, where: str, limit: int, setting: str) -> None:
        super().__init__(
            f"{where} has {limit} {what} and may have no more ({setting}); delete what is not "
            "needed, or raise the limit"
        )
        self.limit = limit
        self.setting = setting


class NoPartitionAvailable(RequestError):
    """Every partition of the topic has its consumer."""

    code = "NO_PARTITION_AVAILABLE"

    def __init__(self, topic_id: str, partitions: int) -> None:
        super().__init__(
            f"all {partitions} partitions of topic '{topic_id}' are assigned to other consumers; "
            "add partitions in the configuration or use a consumerId that has one"
        )
        self.topic_id = topic_id
        self.partitions = partitions


class NotAssigned(RequestError):
    """The partition belongs to another consumer, or not to this one any more."""

    code = "NOT_ASSIGNED"

    def __init__(self, topic_id: str, partition_id: int, consumer_id: str) -> None:
        super().__init__(
            f"partition {partition_id} of topic '{topic_id}' is not assigned to consumer "
            f"'{consumer_id}' (any more); register to get a partition"
        )
        self.topic_id = topic_id
        self.partition_id = partition_id
        self.consumer_id = consumer_id


class MethodNotAllowed(RequestError):
    """The path is there, the method is not; `allowed` goes into the `Allow` header."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible on {path}; use {allowed}")
        self.allowed = allowed


class UnsupportedMediaType(RequestError):
    """The body is not declared as JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, content_type: str) -> None:
        super().__init__(
            f"the Content-Type is '{content_type}'; send JSON with Content-Type: application/json"
        )
        self.content_type = content_type


class PayloadTooLarge(RequestError):
    """A message, a batch or a body is over its limit; `setting` is the limit's name.

    `size` and `limit` are in `unit`.
    """

    code = "PAYLOAD_TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int, setting: str, unit: str = "bytes") -> None:
        super().__init__(
            f"{what} has {size} {unit} and may have at most {limit} ({setting}); send less at once"
        )
        self.size = size
        self.limit = limit
        self.setting = setting


class Unavailable(PandaqError):
    """The request may be right, but it cannot be served now."""


class BufferFull(Unavailable):
    """The ingress backlog is at its limit; nothing of the request was kept."""

    code = "BUFFER_FULL"

    def __init__(self, backlog_bytes: int, limit: int) -> None:
        super().__init__(
            f"{backlog_bytes} bytes wait to be routed and at most {limit} may (maxBacklogBytes); "
            "send again a little later"
        )
        self.backlog_bytes = backlog_bytes
        self.limit = limit


class DelayFull(Unavailable):
    """As many messages wait to be due as may; nothing of the request was kept."""

    code = "BUFFER_FULL"

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"{count} messages wait for the time of their delivery and at most {limit} may "
            "(maxDelayed); send again later, or without a delay"
        )
        self.count = count
        self.limit = limit


class ShuttingDown(Unavailable):
    """The broker is stopping; nothing of the request was kept."""

    code = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("the broker is shutting down; send again when it is back")


class OutcomeUnknown(Unavailable):
    """No answer came in time: the request may still be carried out."""

    code = "TIMEOUT"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"no answer within {timeout_s:g} s: the outcome is unknown, "
            "and sending again may duplicate"
        )
        self.timeout_s = timeout_s


class StorageFailed(Unavailable):
    """An error of the disk. Where the file is `closed` for writing by it, a restart recovers."""

    code = "STORAGE_FAILED"

    def __init__(self, path: Path | str, reason: str, *, closed: bool = False) -> None:
        advice = (
            "nothing more is accepted: check the disk, then restart the broker, which recovers "
            "from its logs"
            if closed
            else "check the disk, then send again"
        )
        super().__init__(f"the disk failed on {path} ({reason}); {advice}")
        self.path = path
        self.reason = reason
        self.closed = closed


class StorageFull(Unavailable):
    """No room on the disk; nothing of the request was kept, and room makes it work again."""

    code = "STORAGE_FULL"

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"there is no room to write to {path}; nothing of the request was kept: "
            "make room, then send again"
        )
        self.path = path


class Unhealthy(Unavailable):
    """Something keeps the broker from working; `problems` are sentences."""

    code = "STORAGE_FAILED"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StartError(PandaqError):
    """The broker cannot start; the sentence says what to do. Exit code 2."""


class ConfigError(StartError):
    """A setting is wrong; one sentence names its source, its field and its value."""


class DataDirError(StartError):
    """The data directory cannot be used as it is."""


def _the(group: str) -> str:
    return f"group '{group}'" if group else "the unnamed group"
