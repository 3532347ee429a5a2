r"""One record <-> one line.

    ingress.log        brokerId|offset|topicId|messageId|content
    partition_N.log    topicId|partitionId|offset|messageId|content

Both are an owner, an offset and a body, so one codec serves both:

    line     = owner "|" offset "|" body "\n"
    owner    = brokerId, or topicId "|" partitionId
    body     = topicId "|" payload (ingress), or payload (partition)
    payload  = messageId "|" content, and "|" extra where a message has more

Three rules keep a line to be parted at `|` with no ambiguity, whatever a user sends:

- `content` is JSON text with every `|` written `\u007c` and every line break written as a space.
  In valid JSON a raw `|` stands only inside a string, and a raw line break only between tokens,
  so both rewrites keep the value exactly.
- `messageId` is the inside of a JSON string, by the same rule.
- `extra` is a JSON object, by the same rule: see `pandaq.extra`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Final

import msgspec

from pandaq.extra import decode_extra
from pandaq.message import Record

SEPARATOR: Final = b"|"
_ESCAPED_SEPARATOR: Final = rb"\u007c"
_PAYLOAD_FIELDS: Final = (2, 3)
_NAME: Final = re.compile(rb"[A-Za-z0-9._-]+")  # A topicId or brokerId: see pandaq.ids.
_JOINED_BYTES: Final = 1 << 20  # To join more takes longer than to look at each.
_MAX_OFFSET_DIGITS: Final = 19  # The index and the names of segments hold no longer ones.

_json_text = msgspec.json.Decoder(msgspec.Raw)
_json_texts = msgspec.json.Decoder(list[msgspec.Raw])
_json_string = msgspec.json.Decoder(str)


def encode_payloads(
    ids: Sequence[str],
    contents: Sequence[bytes],
    prefix: bytes = b"",
    extras: Sequence[bytes] | None = None,
) -> list[bytes]:
    r"""Return `messageId|content` for each id and its content, JSON text, behind a prefix.

    `extras` has for each the sixth field, or nothing.

    >>> encode_payloads(["a|b\nc"], [b'"x|y"'])
    [b'a\\u007cb\\nc|"x\\u007cy"']
    >>> encode_payloads(["a", "b"], [b"1", b"2"], extras=[b'{"key":"k"}', b""])
    [b'a|1|{"key":"k"}', b'b|2']
    """
    # Looking at all of them at once costs a tenth of looking at each; most need no escape at all.
    joined = "".join(ids)
    encode_id = str.encode if _escape(_encode_id(joined)) == joined.encode() else _escaped_id
    is_short = sum(map(len, contents)) <= _JOINED_BYTES
    if not (is_short and _needs_no_escape(b"".join(contents))):
        contents = list(map(_escape, contents))
    payloads = [
        b"%b%b|%b" % (prefix, encode_id(message_id), content)
        for message_id, content in zip(ids, contents, strict=True)
    ]
    if extras is None:
        return payloads
    return [
        b"%b|%b" % (payload, extra) if extra else payload
        for payload, extra in zip(payloads, extras, strict=True)
    ]


def keys_of(payloads: Sequence[bytes]) -> list[bytes]:
    r"""Return what routes each payload, as UTF-8: its key, else the messageId that was sent.

    >>> keys_of([rb'a\u007cb|1', b'c|2', b'd|3|{"key":"k"}'])
    [b'a|b', b'c', b'k']
    """
    ids = [payload[: payload.index(SEPARATOR)] for payload in payloads]
    if b"\\" in b"".join(ids):
        ids = [_json_string.decode(b'"' + each + b'"').encode() for each in ids]
    if set(map(_count_separators, payloads)) <= {1}:
        return ids
    keys = [decode_extra(extra_of(payload)).key for payload in payloads]
    return [key.encode() if key else id_ for key, id_ in zip(keys, ids, strict=True)]


def message_id_of(payload: bytes) -> str:
    r"""Return the messageId of a payload, as it was sent.

    >>> message_id_of(rb'a\u007cb|1')
    'a|b'
    """
    return _json_string.decode(b'"' + payload[: payload.index(SEPARATOR)] + b'"')


def extra_of(payload: bytes) -> bytes:
    """Return the sixth field of a payload; empty where it has none.

    >>> extra_of(b'd|3|{"key":"k"}'), extra_of(b"d|3")
    (b'{"key":"k"}', b'')
    """
    # The content, which may be large, is not copied.
    if payload.index(SEPARATOR) == (end := payload.rindex(SEPARATOR)):
        return b""
    return payload[end + 1 :]


def with_extra(payload: bytes, extra: bytes) -> bytes:
    """Return a payload with another sixth field, or with none.

    >>> with_extra(b'd|3|{"key":"k"}', b"")
    b'd|3'
    """
    parts = payload.split(SEPARATOR)[:2]
    return SEPARATOR.join([*parts, extra] if extra else parts)


def split_ingress_line(line: bytes) -> list[bytes]:
    """Return brokerId, offset, topicId and payload of an ingress line (without its newline)."""
    return line.split(SEPARATOR, 3)


def split_partition_line(line: bytes) -> list[bytes]:
    """Return topicId, partitionId, offset, messageId, content of a line, and what more it has."""
    return line.split(SEPARATOR)


def payload_of(line: bytes) -> bytes:
    """Return the payload of a partition's line (without its newline)."""
    return line.split(SEPARATOR, 3)[3]


def decode_record(line: bytes, timestamp_ms: int = 0) -> Record:
    """Return the record of a partition's line (without its newline), appended at `timestamp_ms`."""
    topic_id, partition_id, offset, message_id, content, *more = split_partition_line(line)
    extra = decode_extra(more[0] if more else b"")
    return Record(
        topic_id.decode(),
        int(partition_id),
        int(offset),
        _json_string.decode(b'"' + message_id + b'"'),
        content,
        extra.key,
        extra.headers or {},
        extra.refusal.attempts if extra.refusal else 0,
        timestamp_ms,
    )


def is_json(text: bytes) -> bool:
    """Tell whether bytes are one JSON value in valid UTF-8, without lone surrogates."""
    try:
        if not text.isascii():
            text.decode()
        _json_text.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def are_json(texts: list[bytes]) -> bool:
    """Tell whether each of several is JSON; it may be taken for none for the spaces around it.

    >>> are_json([b"1", b"[2]"]), are_json([b"1, [", b"2]"])
    (True, False)
    """
    joined = b"[%b]" % b",".join(texts)
    try:
        if not joined.isascii():
            joined.decode()
        # What only together is JSON comes out in other parts than it went in.
        return list(map(bytes, _json_texts.decode(joined))) == texts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How the lines of one log begin, and how many fields stand before the payload.

    `owner` is what lines are written with. A partition's lines must all have it; the ingress log's
    need not (`any_owner`), since a broker may be given another id.
    """

    owner: bytes
    any_owner: bool
    topic_in_body: bool

    @classmethod
    def ingress(cls, broker_id: str) -> "LineFormat":
        """Return the format of the ingress log."""
        return cls(broker_id.encode(), any_owner=True, topic_in_body=True)

    @classmethod
    def partition(cls, topic_id: str, partition_id: int) -> "LineFormat":
        """Return the format of a partition's log."""
        owner = f"{topic_id}|{partition_id}".encode()
        return cls(owner, any_owner=False, topic_in_body=False)

    def encode(self, first_offset: int, bodies: Iterable[bytes]) -> list[bytes]:
        r"""Return a line for each body, with consecutive offsets.

        >>> LineFormat.partition("orders", 0).encode(7, [b"a|1", b"b|2"])
        [b'orders|0|7|a|1\n', b'orders|0|8|b|2\n']
        """
        owner = self.owner
        return [
            b"%b|%d|%b\n" % (owner, offset, body)
            for offset, body in enumerate(bodies, first_offset)
        ]

    def offset_of(self, line: bytes) -> int | None:
        """Return the offset of a line (without its newline), or None where it is damaged.

        Every rule is checked, so that nothing goes out that could not have come in.
        """
        if self.any_owner:
            owner, _, rest = line.partition(SEPARATOR)
            if not _NAME.fullmatch(owner):
                return None
        else:
            rest = line.removeprefix(self.owner + SEPARATOR)
            if len(rest) == len(line):
                return None
        offset, _, body = rest.partition(SEPARATOR)
        if not offset.isdigit() or offset.startswith(b"0") or len(offset) > _MAX_OFFSET_DIGITS:
            return None
        if self.topic_in_body:
            topic_id, _, body = body.partition(SEPARATOR)
            if not _NAME.fullmatch(topic_id):
                return None
        return int(offset) if _is_payload(body) else None


def _is_payload(payload: bytes) -> bool:
    fields = payload.split(SEPARATOR)
    if len(fields) not in _PAYLOAD_FIELDS:
        return False
    message_id, *rest = fields
    if not all(extra.startswith(b"{") for extra in rest[1:]):
        return False
    return is_json(b'"' + message_id + b'"') and all(map(is_json, rest))


_count_separators = methodcaller("count", SEPARATOR)


def _encode_id(message_id: str) -> bytes:
    """Return the inside of a JSON string."""
    return msgspec.json.encode(message_id)[1:-1]


def _escaped_id(message_id: str) -> bytes:
    return _escape(_encode_id(message_id))


def _needs_no_escape(text: bytes) -> bool:
    return _escape(text) is text


def _escape(text: bytes) -> bytes:
    if SEPARATOR in text:
        text = text.replace(SEPARATOR, _ESCAPED_SEPARATOR)
    if b"\n" in text or b"\r" in text:
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    return text
