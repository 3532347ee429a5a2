"""What a broker confirms: messages taken, a partition assigned, an offset committed.

Every `timestamp` is the broker's, ISO 8601 in UTC with milliseconds and `Z`.
"""

from dataclasses import dataclass

from pandaq_sdk.envelope import Answer


@dataclass(frozen=True, slots=True)
class Produced:
    """One message is on the broker's disk.

    `duplicate` is true when the topic remembers messageIds and had this one already, so that
    nothing was written.
    """

    message_id: str
    topic_id: str
    timestamp: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class ProducedBatch:
    """All `count` messages of a batch are on the broker's disk.

    `duplicates` are the messageIds of those that the topic remembered, so that they were not
    written again.
    """

    count: int
    topic_id: str
    timestamp: str
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A consumer has a partition."""

    topic_id: str
    broker_id: str
    consumer_id: str
    partition_id: int
    timestamp: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A partition has been read up to and including `offset`.

    `log_end_offset - new_read_offset` messages are left to read.
    """

    offset: int
    topic_id: str
    partition_id: int
    consumer_id: str
    new_read_offset: int
    log_end_offset: int
    timestamp: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A message was refused `attempts` times; a copy went to `topic_id`, due at `deliver_at`.

    That is the topic's own, or that of its dead letters.
    """

    offset: int
    attempts: int
    topic_id: str
    deliver_at: str


def refused_from(answer: Answer) -> Refused:
    """Return the receipt of a refusal; raises `UnexpectedAnswer`."""
    return Refused(
        offset=answer.integer("offset"),
        attempts=answer.integer("attempts"),
        topic_id=answer.text("topicId"),
        deliver_at=answer.text("deliverAt"),
    )


def produced_from(answer: Answer) -> Produced:
    """Return the receipt of one message; raises `UnexpectedAnswer`."""
    return Produced(
        message_id=answer.text("messageId"),
        topic_id=answer.text("topicId"),
        timestamp=answer.text("timestamp"),
        duplicate=answer.fields.get("duplicate") is True,
    )


def produced_batch_from(answer: Answer) -> ProducedBatch:
    """Return the receipt of a batch; raises `UnexpectedAnswer`."""
    return ProducedBatch(
        count=answer.integer("count"),
        topic_id=answer.text("topicId"),
        timestamp=answer.text("timestamp"),
        duplicates=tuple(map(str, answer.fields.get("duplicates") or ())),
    )


def registered_from(answer: Answer) -> Registered:
    """Return the receipt of a registration; raises `UnexpectedAnswer`."""
    return Registered(
        topic_id=answer.text("topicId"),
        broker_id=answer.text("brokerId"),
        consumer_id=answer.text("consumerId"),
        partition_id=answer.integer("partitionId"),
        timestamp=answer.text("timestamp"),
    )


def committed_from(answer: Answer) -> Committed:
    """Return the receipt of a commit; raises `UnexpectedAnswer`."""
    return Committed(
        offset=answer.integer("offset"),
        topic_id=answer.text("topicId"),
        partition_id=answer.integer("partitionId"),
        consumer_id=answer.text("consumerId"),
        new_read_offset=answer.integer("newReadOffset"),
        log_end_offset=answer.integer("logEndOffset"),
        timestamp=answer.text("timestamp"),
    )
