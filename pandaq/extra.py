r"""What a message has beside its id and its content: the sixth field of its line.

    {"key":"customer-7","headers":{"trace":"a1"}}        from its producer
    {"deliverAt":1700000000000}                          not to be routed before
    {"expiresAt":1700000000000}                          not given to consumers from then on
    {"delayed":12}                                       what the delay log had at offset 12
    {"refusal":{"group":"billing","attempts":1,…}}       a copy that only this group sees

Times are milliseconds since 1970 (UTC). Most messages have none of this, and no sixth field.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from pandaq.config import Config
from pandaq.errors import InvalidRequest, PayloadTooLarge
from pandaq.ids import check_message_id

_SEPARATOR: Final = b"|"
_ESCAPED_SEPARATOR: Final = rb"\u007c"
# Bytes that stand in the line of every message that some consumers may not see.
_PRIVATE: Final = b'"refusal":{'
_EXPIRING: Final = b'"expiresAt":'
_DELAYED: Final = b'"del'  # of deliverAt and delayed


class Refusal(Struct, frozen=True, omit_defaults=True):
    """Who refused a message, how often, and where it stood when it first came.

    `reason` is the last one given.
    """

    group: str
    attempts: int
    partition: int
    offset: int
    reason: str = ""


class Extra(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """See the top of the file."""

    key: str | None = None
    headers: Mapping[str, str] | None = None
    deliver_at: int | None = None
    expires_at: int | None = None
    delayed: int | None = None
    refusal: Refusal | None = None

    @property
    def is_delayed(self) -> bool:
        """Whether the delay log is concerned."""
        return self.deliver_at is not None or self.delayed is not None

    def is_visible_to(self, group: str, now_ms: int) -> bool:
        """Tell whether a group's consumers are given the message."""
        if self.refusal and self.refusal.group != group:
            return False
        return not self.is_expired(now_ms)

    def is_expired(self, now_ms: int) -> bool:
        """Tell whether its time to live is over."""
        return self.expires_at is not None and self.expires_at <= now_ms


NOTHING: Final = Extra()
_extra = msgspec.json.Decoder(Extra)


class Sent(Protocol):
    """What a producer may say of a message, beside its id and its content."""

    @property
    def key(self) -> str | None: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str] | None: ...  # noqa: D102
    @property
    def delay_ms(self) -> int | None: ...  # noqa: D102
    @property
    def deliver_at(self) -> int | None: ...  # noqa: D102
    @property
    def ttl_ms(self) -> int | None: ...  # noqa: D102


def encode_extra(extra: Extra) -> bytes:
    r"""Return the sixth field; empty where there is nothing to say.

    >>> encode_extra(Extra(key="a|b"))
    b'{"key":"a\\u007cb"}'
    """
    if extra == NOTHING:
        return b""
    return msgspec.json.encode(extra).replace(_SEPARATOR, _ESCAPED_SEPARATOR)


def decode_extra(text: bytes) -> Extra:
    """Return what a sixth field says; nothing where it is empty, or of another kind than ours.

    >>> decode_extra(b'{"key":"k"}').key
    'k'
    """
    try:
        return _extra.decode(text) if text else NOTHING
    except msgspec.DecodeError:
        return NOTHING


def may_be_hidden(lines: bytes) -> bool:
    """Tell quickly whether among these lines may be one that not everybody sees."""
    return _PRIVATE in lines or _EXPIRING in lines


def may_be_delayed(line: bytes) -> bool:
    """Tell quickly whether a line may be of a message that is delayed, or was: see `is_delayed`."""
    return _DELAYED in line


def extras_of(sent: Sequence[Sent], now_ms: int, config: Config) -> list[bytes] | None:
    """Return the sixth field of each message; None where none has any.

    Raises `InvalidRequest`, `PayloadTooLarge`.
    """
    if all(
        each.key is None
        and each.headers is None
        and each.ttl_ms is None
        and each.delay_ms is None
        and each.deliver_at is None
        for each in sent
    ):
        return None
    extras = []
    for number, each in enumerate(sent):
        try:
            extras.append(encode_extra(_extra_of(each, now_ms, config)))
        except InvalidRequest as error:
            where = f"message {number}: " if len(sent) > 1 else ""
            raise InvalidRequest(f"{where}{error}") from None
    return extras


def _extra_of(sent: Sent, now_ms: int, config: Config) -> Extra:
    if sent.key is not None:
        check_message_id(sent.key, "key")
    if sent.headers is not None:
        _check_headers(sent.headers, config)
    deliver_at = _deliver_at(sent, now_ms, config)
    if sent.ttl_ms is not None and not 0 < sent.ttl_ms <= MAX_TTL_MS:
        raise InvalidRequest(f"ttlMs is {sent.ttl_ms}; it must be from 1 to {MAX_TTL_MS}")
    return Extra(
        key=sent.key,
        headers=sent.headers or None,
        # What is due goes like any other.
        deliver_at=deliver_at if deliver_at > now_ms else None,
        expires_at=None if sent.ttl_ms is None else now_ms + sent.ttl_ms,
    )


MAX_TTL_MS: Final = 3_153_600_000_000
"""A hundred years, in milliseconds."""


def _check_headers(headers: Mapping[str, str], config: Config) -> None:
    try:
        size = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    except UnicodeEncodeError:
        raise InvalidRequest("headers are not valid UTF-8: a lone surrogate is in them") from None
    if "" in headers:
        raise InvalidRequest("headers has a name that is empty; give every header a name")
    if size > config.max_header_bytes:
        raise PayloadTooLarge("headers", size, config.max_header_bytes, "maxHeaderBytes")


def _deliver_at(sent: Sent, now_ms: int, config: Config) -> int:
    if sent.delay_ms is not None and sent.deliver_at is not None:
        raise InvalidRequest("both delayMs and deliverAt are given; send one of them")
    if sent.delay_ms is not None and not 0 <= sent.delay_ms <= config.max_delay_ms:
        raise InvalidRequest(
            f"delayMs is {sent.delay_ms}; it must be from 0 to {config.max_delay_ms} (maxDelayMs)"
        )
    if sent.deliver_at is not None and not 0 <= sent.deliver_at <= now_ms + config.max_delay_ms:
        raise InvalidRequest(
            f"deliverAt is {sent.deliver_at}; it must be milliseconds since 1970 (UTC), no more "
            f"than {config.max_delay_ms} (maxDelayMs) from now"
        )
    if sent.delay_ms is not None:
        return now_ms + sent.delay_ms
    return sent.deliver_at or 0
