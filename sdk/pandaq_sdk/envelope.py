"""The JSON of a request and of its answer: bytes in, values out, no I/O.

A request's body is one object. An answer is one of

    200    {"success": true, "data": {…}}
    other  {"success": false, "errorCode": "…", "error": "a sentence"}

Fields that this version does not know are ignored: a newer broker may send them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pandaq_sdk.errors import NotEncodable, UnexpectedAnswer, broker_error

_EXCERPT_BYTES = 200

# Made once: json.dumps with options makes one for each call. It does not look for circles, which
# end in a RecursionError all the same; whatever fails is written once more, with care.
_written = json.JSONEncoder(
    check_circular=False, ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def encode(value: object, what: str) -> bytes:
    r"""Return `value` as JSON in UTF-8; `what` names it in the error.

    Raises `NotEncodable` for NaN and infinities, bytes, lone surrogates, circles and whatever
    else JSON has no form for.

    >>> encode({"content": "é"}, "the message")
    b'{"content":"\xc3\xa9"}'
    """
    try:
        return _written(value).encode()
    except (TypeError, ValueError, RecursionError):
        return _encoded_with_care(value, what)


def decode(call: str, status: int, body: bytes) -> "Answer":
    """Return the data of a success; `call` names the request in errors.

    Raises the `BrokerError` of a refusal, and `UnexpectedAnswer` for anything else.

    >>> decode("POST /commit", 200, b'{"success": true, "data": {"offset": 3}}').integer("offset")
    3
    """
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswer(call, status, f"no JSON: {_excerpt(body)}") from error
    match envelope:
        case {"success": True, "data": dict(data)} if status == HTTPStatus.OK:
            return Answer(call, status, data)
        case {"success": False, "errorCode": str(code)}:
            raise broker_error(status, code, str(envelope.get("error", "the broker refused")))
    raise UnexpectedAnswer(call, status, f"not the shape of an answer: {_excerpt(body)}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The data of an answer, read field by field.

    Each reader raises `UnexpectedAnswer` when the field is missing or of another type.
    """

    call: str
    status: int
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a field that is a string."""
        value = self.value(name)
        if not isinstance(value, str):
            raise self._unexpected(name, "text", value)
        return value

    def integer(self, name: str) -> int:
        """Return a field that is an integer; `true` and `1.0` are none."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unexpected(name, "an integer", value)
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
                raise self._unexpected(name, "objects", other)

    def part(self, fields: Mapping[str, Any]) -> "Answer":
        """Return one of the objects of this answer, to be read field by field."""
        return Answer(self.call, self.status, fields)

    def value(self, name: str) -> Any:
        """Return a field of any type, null included."""
        if name not in self.fields:
            raise UnexpectedAnswer(self.call, self.status, f"the field {name} is missing")
        return self.fields[name]

    def _unexpected(self, name: str, wanted: str, value: object) -> UnexpectedAnswer:
        reason = f"the field {name} should be {wanted} and is {str(value)[:_EXCERPT_BYTES]!r}"
        return UnexpectedAnswer(self.call, self.status, reason)


def _encoded_with_care(value: object, what: str) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError as error:
        raise NotEncodable(what, "it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise NotEncodable(what, str(error)) from error


def _excerpt(body: bytes) -> str:
    if not body:
        return "the body is empty"
    return f"it begins {body[:_EXCERPT_BYTES].decode('utf-8', 'replace')!r}"
