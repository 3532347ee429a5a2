"""What can be configured: every setting, its default and its limits.

A setting is named in camelCase in files (`maxBodyBytes`) and in snake_case in Python
(`max_body_bytes`); the one map between them is `rename="camel"` below. `pandaq.config_file` reads
the values from files and the environment; `conf/pandaq.yaml` shows them all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from pandaq.errors import InvalidRequest
from pandaq.ids import NAME_RULE, check_broker_id, check_topic_id
from pandaq.settings import check, wrong

Port = Annotated[int, Meta(ge=0, le=65_535)]
Partitions = Annotated[int, Meta(ge=1, le=1_000)]
Threads = Annotated[int, Meta(ge=1, le=1_000)]
Connections = Annotated[int, Meta(ge=1, le=100_000)]
Messages = Annotated[int, Meta(ge=1, le=1_000_000)]
Pause = Annotated[int, Meta(ge=0, le=600_000)]
Interval = Annotated[int, Meta(ge=1, le=600_000)]
Age = Annotated[int, Meta(ge=1, le=3_153_600_000_000)]  # a hundred years
Piece = Annotated[int, Meta(ge=1, le=1 << 30)]  # held in memory as a whole: at most 1 GiB
Room = Annotated[int, Meta(ge=0, le=1 << 50)]
Host = Annotated[
    str, Meta(pattern=r"\A[!-~]{1,255}\Z", description="a host or an address, such as '127.0.0.1'")
]
Durability = Literal["fsync", "interval", "os"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Retention(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How long messages are kept: whole sealed segments go, oldest first.

    >>> Retention(max_bytes=0)
    Traceback (most recent call last):
    pandaq.settings.SettingError: Retention(...): maxBytes is 0; it must be null or a whole...
    """

    max_age_ms: Age | None = 7 * 24 * 60 * 60 * 1000
    """Milliseconds from the append on; `None`: any age."""
    max_bytes: Annotated[int, Meta(ge=1, le=1 << 50)] | None = None
    """Bytes of one partition; `None`: any size."""
    keep_committed: bool = True
    """Whether committed messages stay until the age or the size says otherwise."""
    delete_uncommitted: bool = False
    """Whether a message may go that nobody has committed: this loses messages."""

    def __post_init__(self) -> None:
        check(self)


OWN_SUFFIXES: Final = (".index", ".tmp", ".lock")
OWN_FILES: Final = ("config.log", "tpc.log", "ingress_metadata.log", "delayed.log", "lost.log")
"""What the ingress log may not be called, since files beside it are."""

INHERITED: Final = Retention()
"""Stands for the retention of the `Config` that a topic is in (told by identity)."""


class Retry(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What becomes of a message that a consumer refuses: it comes again, later each time.

    >>> Retry(max_attempts=0)
    Traceback (most recent call last):
    pandaq.settings.SettingError: Retry(...): maxAttempts is 0; it must be a whole number from 1...
    """

    max_attempts: Annotated[int, Meta(ge=1, le=1_000_000)] = 5
    """How often it is given out before it goes to the topic's dead letters."""
    delay_ms: Pause = 1_000
    """Milliseconds until it comes again the first time; twice as long each time after."""
    max_delay_ms: Age = 60_000
    """But no more than this."""

    def __post_init__(self) -> None:
        check(self)

    def delay_after(self, attempts: int) -> int:
        """Return the delay in ms after so many refusals.

        >>> [Retry(delay_ms=1000, max_delay_ms=5000).delay_after(n) for n in (1, 2, 3, 4)]
        [1000, 2000, 4000, 5000]
        """
        return min(self.delay_ms << min(attempts - 1, 40), self.max_delay_ms)


INHERITED_RETRY: Final = Retry()
"""Stands for the retry of the `Config` that a topic is in (told by identity)."""


class TopicConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A topic; within a `Config`, `retention` and `retry` are always those that hold for it."""

    id: str
    """See `pandaq.ids`: it names a folder."""
    partitions: Partitions
    """How many; may grow later, never shrink."""
    retention: Retention = INHERITED
    retry: Retry = INHERITED_RETRY
    dedupe_window_ms: Annotated[int, Meta(ge=1, le=604_800_000)] | None = None
    """Milliseconds that a messageId is remembered, so that one that is sent again is not written
    again; `None`: not at all."""

    def __post_init__(self) -> None:
        check(self)
        try:
            check_topic_id(self.id)
        except InvalidRequest:
            raise wrong(self, "id", self.id, NAME_RULE) from None


EMBEDDED_TOPICS: Final = (TopicConfig("orders", 3), TopicConfig("events", 2))
"""The topics of a broker that has no config file."""


class Config(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Every setting of a broker. A wrong value raises `ConfigError`.

    Paths may be given as `str`. They are `Path` afterwards, and `topics` is a tuple.

    >>> config = Config(topics=[TopicConfig("orders", 3)], data_dir=Path("data"), port=0)
    >>> config.topics[0].partitions, config.ingress_log.name, config.durability
    (3, 'ingress.log', 'fsync')
    >>> Config(port=70000)
    Traceback (most recent call last):
    pandaq.settings.SettingError: Config(...): port is 70000; it must be a whole number ...
    """

    broker_id: str = "broker_1"
    """Clients that name another broker are refused. Same rule as for a topic's id."""
    reboot: bool = False
    """Whether the data directory is wiped at the start."""
    topics: Annotated[Sequence[TopicConfig], Meta(min_length=1, max_length=1_000)] = EMBEDDED_TOPICS
    """At least one; no two ids that differ in upper and lower case only."""

    host: Host = "127.0.0.1"
    """The address to listen on; `0.0.0.0` for every network."""
    port: Port = 3000
    """The TCP port to listen on; 0 for any free one."""
    data_dir: Path = Path("pandaq-data")
    """The folder of all logs."""
    ingress_log_file: Path | None = None
    """The write-ahead log; `None`: `ingress.log` in the data directory. See `ingress_log`."""

    durability: Durability = "fsync"
    """When an accepted message is synced: before the answer, at an interval, or by the system."""
    sync_interval_ms: Interval = 100
    """Milliseconds between two syncs where `durability` is `interval`."""
    interval_ms: Interval = 100
    """Milliseconds after which the broker loop wakes at the latest."""
    cycle_gap_ms: Pause = 3
    """Milliseconds between two cycles at least, so that single messages are routed in batches."""
    batch_size: Messages = 20_000
    """Messages routed in one cycle."""
    checkpoint_interval_ms: Interval = 1_000
    """Milliseconds after which a checkpoint is due."""
    checkpoint_bytes: Piece = 8 << 20
    """Bytes written to partitions after which a checkpoint is due."""
    segment_bytes: Annotated[int, Meta(ge=256, le=1 << 30)] = 64 << 20
    """Bytes after which a log goes on in a new file."""
    tail_bytes: Room = 64 << 20
    """Bytes of memory for the newest messages of all logs together."""

    max_message_bytes: Piece = 1 << 20
    """Bytes of one message."""
    max_body_bytes: Piece = 16 << 20
    """Bytes of the body of one request; at least `max_message_bytes`."""
    max_batch_messages: Messages = 10_000
    """Messages in one request."""
    max_backlog_bytes: Annotated[int, Meta(ge=1, le=1 << 50)] = 256 << 20
    """Bytes accepted and not yet routed; beyond them producers are told to wait."""
    max_consume_messages: Messages = 10_000
    """Messages in one answer: the upper bound of `max`."""
    max_consume_bytes: Piece = 16 << 20
    """Bytes of content in one answer; one message always fits."""
    max_wait_ms: Pause = 30_000
    """Milliseconds that a consumer may wait for messages: the upper bound of `wait`."""
    max_header_bytes: Piece = 8 << 10
    """Bytes of the headers of one message, names and values."""
    max_delay_ms: Age = 31 * 24 * 60 * 60 * 1000
    """Milliseconds that a message may be delayed."""
    max_delayed: Annotated[int, Meta(ge=0, le=100_000_000)] = 1_000_000
    """Messages that may wait for the time of their delivery; each costs about 300 bytes of
    memory."""
    max_dedupe_ids: Annotated[int, Meta(ge=1, le=100_000_000)] = 1_000_000
    """messageIds that one topic remembers; each costs about 200 bytes of memory."""
    max_lease_ms: Age = 24 * 60 * 60 * 1000
    """Milliseconds of the longest lease."""
    max_groups: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Named groups of one topic."""
    max_members: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Consumers of one group."""

    threads: Threads = 8
    """Worker threads of the HTTP server."""
    max_waiting: Connections = 800
    """Consumers that wait for messages at once; more are answered at once, as if they did not."""
    max_connections: Connections = 1_000
    """Open connections."""
    ask_timeout_ms: Interval = 10_000
    """Milliseconds within which an actor has to answer."""
    stop_timeout_ms: Interval = 8_000
    """Milliseconds that a clean stop may take."""

    retention: Retention = Retention()
    """For every topic that has none of its own."""
    retry: Retry = Retry()
    """For every topic that has none of its own."""
    log_level: LogLevel = "info"
    """The least serious messages that the broker logs."""

    @property
    def ingress_log(self) -> Path:
        """Where the write-ahead log is."""
        return self.ingress_log_file or self.data_dir / "ingress.log"

    def __post_init__(self) -> None:
        check(self)
        try:
            check_broker_id(self.broker_id)
        except InvalidRequest:
            raise wrong(self, "brokerId", self.broker_id, NAME_RULE) from None
        if self.max_message_bytes > self.max_body_bytes:
            right = f"at most maxBodyBytes, which is {self.max_body_bytes}"
            raise wrong(self, "maxMessageBytes", self.max_message_bytes, right)
        if self.ingress_log_file and (
            self.ingress_log_file.suffix.lower() in OWN_SUFFIXES
            or self.ingress_log_file.name.lower() in OWN_FILES
        ):
            right = "the path of a file with a name that no other file of the broker has"
            raise wrong(self, "ingressLogFile", str(self.ingress_log_file), right)
        self._check_topic_ids_differ()
        force_setattr(self, "topics", tuple(self._resolved(topic) for topic in self.topics))

    def _check_topic_ids_differ(self) -> None:
        # Windows, and macOS as a rule, would give "Orders" and "orders" the same folder.
        seen: dict[str, int] = {}
        for index, topic in enumerate(self.topics):
            first = seen.setdefault(topic.id.lower(), index)
            if first != index:
                right = f"different from topics[{first}].id, also in lower case"
                raise wrong(self, f"topics[{index}].id", topic.id, right)

    def _resolved(self, topic: TopicConfig) -> TopicConfig:
        if topic.retention is INHERITED:
            topic = replace(topic, retention=self.retention)
        return replace(topic, retry=self.retry) if topic.retry is INHERITED_RETRY else topic
