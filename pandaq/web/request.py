"""One HTTP request, read and checked."""

import re
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import msgspec

from pandaq.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from pandaq.web.payloads import decode

T = TypeVar("T")

_JSON_TYPE: Final = re.compile(
    r'application/(?:[\w.+-]+\+)?json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?;?', re.IGNORECASE
)
_YES: Final = frozenset({"t", "true"})
_NO: Final = frozenset({"", "f", "false"})


class Request:
    """What a route needs of the WSGI environment."""

    def __init__(self, environ: dict[str, Any], max_body_bytes: int) -> None:
        self._environ = environ
        self._max_body_bytes = max_body_bytes

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the value of the JSON body.

        Raises `UnsupportedMediaType`, `PayloadTooLarge`, `InvalidRequest`.
        """
        content_type = self._environ.get("CONTENT_TYPE", "")
        if content_type and not _JSON_TYPE.fullmatch(content_type):
            raise UnsupportedMediaType(content_type)
        length = int(self._environ.get("CONTENT_LENGTH") or 0)
        if length > self._max_body_bytes:
            raise PayloadTooLarge("the body", length, self._max_body_bytes, "maxBodyBytes")
        return decode(self._environ["wsgi.input"].read(length), decoder)

    def flag(self, name: str) -> bool:
        """Return a query parameter that is `t`, `true`, `f`, `false` or absent."""
        value = self._parameter(name).lower()
        if value not in _YES | _NO:
            raise InvalidRequest(f"{name} is {value[:40]!r}; it must be t or f")
        return value in _YES

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a query parameter that is an integer; more than `highest` counts as that."""
        value = self._parameter(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,15}", value) or int(value) < lowest:
            raise InvalidRequest(
                f"{name} is {value[:40]!r}; it must be an integer from {lowest} on"
            )
        return min(int(value), highest)

    def text(self, name: str) -> str | None:
        """Return a query parameter as it is, None where it is absent or empty."""
        return self._parameter(name) or None

    def integer(self, name: str) -> int | None:
        """Return a query parameter that is an integer of its own right, None where it is absent."""
        value = self._parameter(name)
        if not value:
            return None
        if not re.fullmatch(r"-?[0-9]{1,19}", value):
            raise InvalidRequest(f"{name} is {value[:40]!r}; it must be an integer")
        return int(value)

    def _parameter(self, name: str) -> str:
        query: str = self._environ.get("QUERY_STRING", "")
        if not query:
            return ""
        try:
            values = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError:
            raise InvalidRequest(
                "the query is not valid: wrong UTF-8, or too many fields"
            ) from None
        return values.get(name, [""])[-1]
