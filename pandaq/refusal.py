"""What becomes of a message that a consumer refuses: rules only.

A copy of it comes again, for the group that refused it alone, later each time. Refused as often as
the topic's `retry` allows, it goes to the topic's dead letters, with headers that say why:

    dlq-topic, dlq-partition, dlq-offset     where it stood when it first came
    dlq-group                                who refused it; empty for the unnamed group
    dlq-attempts                             how often
    dlq-reason                               why, the last time

From there it may be driven back, to the same group, as if it had never been refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pandaq.config import Retry
from pandaq.errors import InvalidRequest
from pandaq.extra import Extra, Refusal, decode_extra, encode_extra
from pandaq.ids import dead_letters_of, topic_of_dead_letters
from pandaq.records import SEPARATOR, split_partition_line

MAX_REASON: Final = 1_000
"""Characters of a reason; what is longer is cut."""
PREFIX: Final = "dlq-"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy to be appended: `topicId|payload`; how often it was refused, and when it is due (ms).

    `is_dead` says that the topic is that of the dead letters.
    """

    topic_id: str
    body: bytes
    attempts: int
    deliver_at: int
    is_dead: bool


@dataclass(frozen=True, slots=True)
class Refuser:
    """Who refuses a message, and why; `delay_ms` in place of that of the topic's `retry`."""

    group: str
    reason: str = ""
    delay_ms: int | None = None


def refused(line: bytes, refuser: Refuser, retry: Retry, now_ms: int) -> Copy:
    """Return the copy of a message, given by its partition's line, that is refused now.

    >>> copy = refused(b"orders|2|7|msg-001|1", Refuser("billing"), Retry(delay_ms=50), 1000)
    >>> copy.attempts, copy.deliver_at, copy.is_dead
    (1, 1050, False)

    Raises `InvalidRequest` for a dead letter: there is nowhere to go from there.
    """
    name, number, offset, message_id, content, *more = split_partition_line(line)
    topic_id, extra = name.decode(), decode_extra(more[0] if more else b"")
    if topic_of_dead_letters(topic_id) is not None:
        raise InvalidRequest(
            f"'{topic_id}' is a topic of dead letters, whose messages cannot be refused; commit "
            "them, or drive them back"
        )
    before = extra.refusal
    where = (before.partition, before.offset) if before else (int(number), int(offset))
    attempts = (before.attempts if before else 0) + 1
    refusal = Refusal(refuser.group, attempts, *where, refuser.reason[:MAX_REASON])
    is_dead = attempts >= retry.max_attempts
    deliver_at = now_ms
    if is_dead:
        headers = dict(extra.headers or {}) | _headers(topic_id, refusal)
        topic_id = dead_letters_of(topic_id)
        # What is dead does not expire: somebody has to look at it.
        extra = Extra(extra.key, headers)
    else:
        delay_ms = retry.delay_after(attempts) if refuser.delay_ms is None else refuser.delay_ms
        deliver_at += delay_ms
        due = deliver_at if delay_ms else None
        extra = Extra(extra.key, extra.headers, due, extra.expires_at, None, refusal)
    fields = [topic_id.encode(), message_id, content, encode_extra(extra)]
    return Copy(topic_id, SEPARATOR.join(fields), attempts, deliver_at, is_dead)


def driven_back(line: bytes) -> bytes:
    """Return a dead letter, given by its partition's line, as `topicId|payload` of its topic.

    >>> driven_back(b'orders.dlq|0|1|msg-001|1|{"headers":{"dlq-group":"g","a":"b"}}')
    b'orders|msg-001|1|{"headers":{"a":"b"},"refusal":{"group":"g","attempts":0,"partition":0,...
    """
    name, _, _, message_id, content, *more = split_partition_line(line)
    extra = decode_extra(more[0] if more else b"")
    topic_id = topic_of_dead_letters(name.decode())
    if topic_id is None:
        raise ValueError(f"{name!r} is no topic of dead letters")
    said = extra.headers or {}
    headers = {key: value for key, value in said.items() if not key.startswith(PREFIX)}
    refusal = None  # Somebody may have appended it there by hand: then it is for all.
    if (group := said.get(f"{PREFIX}group")) is not None:
        partition, offset = (_number(said, name) for name in ("partition", "offset"))
        refusal = Refusal(group, 0, partition, offset)
    field = encode_extra(Extra(extra.key, headers or None, refusal=refusal))
    return SEPARATOR.join([topic_id.encode(), message_id, content, *filter(None, [field])])


def _headers(topic_id: str, refusal: Refusal) -> dict[str, str]:
    return {
        f"{PREFIX}topic": topic_id,
        f"{PREFIX}partition": str(refusal.partition),
        f"{PREFIX}offset": str(refusal.offset),
        f"{PREFIX}group": refusal.group,
        f"{PREFIX}attempts": str(refusal.attempts),
        f"{PREFIX}reason": refusal.reason,
    }


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(PREFIX + name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
