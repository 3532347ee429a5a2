"""The contract's JSON: what requests bring, what answers carry, and the status of each error.

{"success": true, "data": {…}}
{"success": false, "errorCode": "…", "error": "a sentence that says what to do"}
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Final, Literal, TypeVar

import msgspec

from pandaq.batch import Batch
from pandaq.errors import InvalidRequest, PandaqError
from pandaq.extra import decode_extra
from pandaq.ids import shown
from pandaq.records import split_partition_line

T = TypeVar("T")

Pieces = list[bytes]
"""JSON text in pieces, to be joined once: it may be large."""

STATUS: Final = {
    "INVALID_REQUEST": 400,
    "INVALID_OFFSET": 400,
    "NOT_FOUND": 404,
    "BROKER_NOT_FOUND": 404,
    "TOPIC_NOT_FOUND": 404,
    "PARTITION_NOT_FOUND": 404,
    "CONSUMER_NOT_FOUND": 404,
    "GROUP_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "NO_PARTITION_AVAILABLE": 409,
    "NOT_ASSIGNED": 409,
    "GROUP_IN_USE": 409,
    "LIMIT_REACHED": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "BUFFER_FULL": 429,
    "INTERNAL_ERROR": 500,
    "SHUTTING_DOWN": 503,
    "STORAGE_FAILED": 503,
    "TIMEOUT": 503,
    "STORAGE_FULL": 507,
}
"""The HTTP status of each error code."""


class Body(msgspec.Struct, frozen=True, rename="camel"):
    """What every body may have; unknown fields are ignored."""

    broker_id: str | None = None


class MessageBody(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One message; its content stays the text that the producer sent."""

    message_id: str | int
    content: msgspec.Raw
    topic_id: str | None = None
    key: str | None = None
    headers: dict[str, str] | None = None
    delay_ms: int | None = None
    deliver_at: int | None = None
    ttl_ms: int | None = None


class AppendBody(Body, frozen=True):
    """Of `POST /ingress/{topicId}`: `message` or `messages`."""

    message: MessageBody | msgspec.UnsetType = msgspec.UNSET
    messages: list[MessageBody] | msgspec.UnsetType = msgspec.UNSET


class MemberBody(Body, frozen=True, kw_only=True):
    """Of `POST /heartbeat/{topicId}` and `POST /unregister/{topicId}`."""

    consumer_id: str
    group: str | None = None


class RegisterBody(MemberBody, frozen=True, kw_only=True):
    """Of `POST /register/{topicId}`."""

    lease_ms: int | None = None
    share: bool = False
    start: Literal["beginning", "end"] = msgspec.field(default="beginning", name="from")


class HolderBody(Body, frozen=True, kw_only=True):
    """What all have that are sent by who has a partition."""

    topic_id: str
    partition_id: int | str
    consumer_id: str
    group: str | None = None
    generation: int | None = None


class CommitBody(HolderBody, frozen=True, kw_only=True):
    """Of `POST /commit`."""

    offset: int


class SeekBody(HolderBody, frozen=True, kw_only=True):
    """Of `POST /seek`: one of the three says where to."""

    offset: int | None = None
    timestamp: int | None = None
    to: Literal["beginning", "end"] | None = None


class NackBody(HolderBody, frozen=True, kw_only=True):
    """Of `POST /nack`."""

    offset: int
    reason: str | None = None
    delay_ms: int | None = None


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return the value of a body. Raises `InvalidRequest` with a sentence that names the field."""
    try:
        # The decoder takes raw parts as they are, so their UTF-8 is checked here.
        if not body.isascii():
            body.decode()
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not valid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(_in_words(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_syntax(body, str(error))) from None


def check_topic_ids(messages: Iterable[MessageBody], topic_id: str) -> None:
    """Raise `InvalidRequest` where a message says another topic than the path."""
    for each in messages:
        if each.topic_id is not None and each.topic_id != topic_id:
            raise InvalidRequest(
                f"topicId of message {shown(each.message_id)} is {shown(each.topic_id)}, but the "
                f"path says {topic_id!r}; send each message to the path of its topic"
            )


def partition_number(value: int | str) -> int:
    """Return a partitionId that is an integer or its text. Raises `InvalidRequest`."""
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise InvalidRequest(f"partitionId is {value[:40]!r}; it must be an integer")
    return int(value)


def success(data: dict[str, Any] | Pieces) -> bytes:
    """Return the body of a success."""
    pieces = data if isinstance(data, list) else [msgspec.json.encode(data)]
    return b"".join([b'{"success":true,"data":', *pieces, b"}"])


def failure(code: str, sentence: str) -> bytes:
    """Return the body of a failure."""
    answer = {"success": False, "errorCode": code, "error": sentence}
    return msgspec.json.encode(answer)


def status_of(error: PandaqError) -> int:
    """Return the HTTP status of an error."""
    return STATUS[error.code]


def batch_json(batch: Batch, *, single: bool) -> Pieces:
    """Return the data of a consume, made of the log's own bytes without decoding them."""
    messages: Pieces = []
    known_ms, end = 0, b"}"
    times = batch.times or repeat(0)
    for fields, time_ms in zip(map(split_partition_line, batch.lines), times, strict=False):
        if time_ms != known_ms:
            known_ms, end = time_ms, b',"timestamp":"%b"}' % timestamp(time_ms).encode()
        more: Pieces = _more(fields.pop()) if len(fields) > _FIELDS else _NO_MORE
        topic_id, _, offset, message_id, content = fields
        messages += (
            b',{"topicId":"',
            topic_id,
            b'","messageId":"',
            message_id,
            b'","content":',
            content,
            b',"offset":',
            offset,
            *more,
            end,
        )
    if messages:
        messages[0] = messages[0].removeprefix(b",")
    before, behind = (
        (b"", b"") if single and messages else (b"null", b"") if single else (b"[", b"]")
    )
    counts = b',"count":%d,"startOffset":%d,"endOffset":%d}'
    return [
        b'{"messages":',
        before,
        *messages,
        behind,
        counts % (batch.count, batch.start_offset, batch.end_offset),
    ]


def timestamp(time_ms: int | None = None) -> str:
    """Return a time (ms since 1970), or now, as ISO 8601 in UTC with milliseconds and `Z`.

    >>> timestamp(1700000000123)
    '2023-11-14T22:13:20.123Z'
    """
    moment = datetime.now(UTC) if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_FIELDS: Final = 5
_NO_MORE: Final[Pieces] = []
_sixth = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _more(text: bytes) -> Pieces:
    """Return what an answer tells of a message's sixth field, as it stands there."""
    fields = _sixth.decode(text)
    pieces: Pieces = []
    for name in ("key", "headers"):
        if name in fields:
            pieces += (b',"%b":' % name.encode(), bytes(fields[name]))
    if refusal := decode_extra(text).refusal:
        pieces.append(b',"attempts":%d' % refusal.attempts)
    return pieces


# -- sentences

_KINDS: Final = {
    "str": "a string",
    "int": "an integer",
    "int | str": "a string or an integer",
    "object": "an object",
    "array": "an array",
}
_WHERE: Final = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)


def _in_words(problem: str) -> str:
    """Turn the decoder's words into a sentence that begins with the field."""
    match = _WHERE.fullmatch(problem)
    path, text = (match["path"] or "", match["problem"]) if match else ("", problem)
    if missing := re.fullmatch(r"Object missing required field `(.+)`", text):
        return f"{path}{'.' if path else ''}{missing[1]} is missing"
    field = path or "the body"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(.+)`", text):
        kind = wrong[1].removesuffix(" | null")
        return f"{field} must be {_KINDS.get(kind, kind)}, not {wrong[2]}"
    return f"{field} is wrong: {text[:1].lower()}{text[1:]}"


def _syntax(body: bytes, problem: str) -> str:
    if not body.strip():
        return "the body is empty; send a JSON object"
    if problem == "Input data was truncated":
        # What the decoder also says of the first half of a surrogate pair without its second.
        problem = "it ends too early, or a string holds half of a surrogate pair"
    return f"the body is not valid JSON: {problem.removeprefix('JSON is malformed: ')}"
