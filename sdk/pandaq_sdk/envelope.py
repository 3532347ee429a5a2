"""The JSON of a request and of its answer: bytes in, values out, no I/O.

A request's body is one object. An answer is one of

    200    {"success": true, "data": {…}}
    other  {"success": false, "errorCode": "…", "error": "a sentence"}

Fields that this version does not know are ignored: a newer broker may send them.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from pandaq_sdk.errors import NotEncodable, UnexpectedAnswer, broker_error

T = TypeVar("T")

_EXCERPT_BYTES = 200


def encode(value: object, what: str) -> bytes:
    r"""Return `value` as JSON in UTF-8; `what` names it in the error.

    Raises `NotEncodable` for NaN and infinities, bytes, lone surrogates, circles and whatever
    else JSON has no form for.

    >>> encode({"content": "é"}, "the message")
    b'{"content":"\xc3\xa9"}'
    """
    try:
        text = msgspec.json.encode(value)
        # It writes more than JSON has a form for, as dates and bytes are strings and NaN is null.
        # Whatever is no JSON does not come back as what it was. Both take half of what `json` does.
        if msgspec.json.decode(text) == value:
            return text
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    return _encoded_with_care(value, what)


def decode(call: str, status: int, body: bytes) -> "Answer":
    """Return the data of a success; `call` names the request in errors.

    Raises the `BrokerError` of a refusal, and `UnexpectedAnswer` for anything else.

    >>> decode("POST /commit", 200, b'{"success": true, "data": {"offset": 3}}').integer("offset")
    3
    """
    try:
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unexpected(call, status, body) from None
    if envelope.success:
        if status == HTTPStatus.OK and bytes(envelope.data).startswith(b"{"):
            return Answer(call, status, envelope.data)
    elif isinstance(envelope.error_code, str):
        sentence = str(envelope.error or "the broker refused")
        raise broker_error(status, envelope.error_code, sentence)
    raise _unexpected(call, status, body)


class _Envelope(msgspec.Struct, rename="camel"):
    """Every answer."""

    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error_code: Any = None
    error: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


class Fields:
    """An object of JSON, read field by field; `call` and `status` are for the errors.

    Each reader raises `UnexpectedAnswer` when the field is missing or of another type.
    """

    def __init__(self, call: str, status: int, fields: Mapping[str, Any]) -> None:
        self.call = call
        self.status = status
        self._fields = fields

    @property
    def fields(self) -> Mapping[str, Any]:
        """All fields."""
        return self._fields

    def text(self, name: str) -> str:
        """Return a field that is a string."""
        value = self.value(name)
        if not isinstance(value, str):
            raise self._not_as_promised(name, "text", value)
        return value

    def integer(self, name: str) -> int:
        """Return a field that is an integer; `true` and `1.0` are none."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._not_as_promised(name, "an integer", value)
        return value

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Return a field that is a list of objects; one object is a list of one, null of none."""
        match self.value(name):
            case None:
                return []
            case dict(single):
                return [single]
            case list(several) if set(map(type, several)) <= {dict}:
                return several
            case other:
                raise self._not_as_promised(name, "objects", other)

    def part(self, fields: Mapping[str, Any]) -> "Fields":
        """Return an object within this one, to be read field by field."""
        return Fields(self.call, self.status, fields)

    def value(self, name: str) -> Any:
        """Return a field of any type, null included."""
        if name not in self.fields:
            raise UnexpectedAnswer(self.call, self.status, f"the field {name} is missing")
        return self.fields[name]

    def _not_as_promised(self, name: str, wanted: str, value: object) -> UnexpectedAnswer:
        reason = f"the field {name} should be {wanted} and is {str(value)[:_EXCERPT_BYTES]!r}"
        return UnexpectedAnswer(self.call, self.status, reason)


class Answer(Fields):
    """The data of an answer: the text of an object, decoded when its fields are read."""

    def __init__(self, call: str, status: int, data: msgspec.Raw | bytes) -> None:
        super().__init__(call, status, {})
        self._data = data

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """All fields; raises `UnexpectedAnswer`."""
        try:
            fields: Mapping[str, Any] = _loads(self._data)
        except (ValueError, RecursionError) as error:
            raise _unexpected(self.call, self.status, bytes(self._data)) from error
        return fields

    def as_type(self, decoder: msgspec.json.Decoder[T]) -> T | None:
        """Return the whole as another type, None where it does not fit; quicker than its fields.

        What does not fit is best read field by field, which says why.
        """
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return decoder.decode(self._data)
        return None


def _loads(text: msgspec.Raw | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # It has limits for numbers that JSON has not.
        return json.loads(bytes(text))


def _encoded_with_care(value: object, what: str) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError as error:
        raise NotEncodable(what, "it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise NotEncodable(what, str(error)) from error


def _unexpected(call: str, status: int, body: bytes) -> UnexpectedAnswer:
    excerpt = f"it begins {body[:_EXCERPT_BYTES].decode('utf-8', 'replace')!r}"
    reason = f"not the shape of an answer: {excerpt if body else 'the body is empty'}"
    return UnexpectedAnswer(call, status, reason)
