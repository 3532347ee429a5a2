"""What the content of a message may be: JSON text that every consumer can read.

Any JSON value will do, and its spelling is kept. Refused is what is no JSON, and what is, but would
stop every consumer that meets it: JSON readers give up on deep nesting, and Python's on very long
integers.
"""

import re
from typing import Final

from pandaq import records
from pandaq.errors import InvalidRequest

MAX_NESTING: Final = 500
"""Levels of arrays and objects."""
MAX_DIGITS: Final = 4300
"""Digits of an integer: what Python's own JSON reader takes by default."""

_LONG_INTEGER: Final = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{%d,}+(?![.eE])" % (MAX_DIGITS + 1))
_SAMPLE: Final = 100
_LONG_RUN: Final = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS // _SAMPLE))


def check_content(content: bytes, *, is_json: bool = False) -> None:
    """Raise `InvalidRequest` unless `content` can be read; `is_json`: it is known to be JSON.

    >>> check_content(b'{"amount": 99.99}')
    >>> check_content(b"{'amount': 99.99}")
    Traceback (most recent call last):
    pandaq.errors.InvalidRequest: content is not valid JSON in UTF-8
    """
    if not (is_json or records.is_json(content)):
        raise InvalidRequest("content is not valid JSON in UTF-8")
    # To look for one is much quicker than to count none.
    brackets = sum(content.count(bracket) for bracket in (b"[", b"{") if bracket in content)
    # So many digits in a row cannot hide between the samples.
    if brackets > MAX_NESTING or _LONG_RUN.search(content[::_SAMPLE]):
        _check_readable(_without_strings(content))


def are_contents(contents: list[bytes]) -> bool:
    """Tell quickly of short contents that none would be refused; False says nothing.

    >>> are_contents([b'{"amount": 99.99}', b"1"]), are_contents([b" 1"])
    (True, False)
    """
    # Too short for as many levels, let alone as many digits.
    return max(map(len, contents), default=0) <= MAX_NESTING and records.are_json(contents)


def _check_readable(bare: bytes) -> None:
    if _depth(bare) > MAX_NESTING:
        raise InvalidRequest(f"content is nested deeper than {MAX_NESTING} levels")
    if _LONG_INTEGER.search(bare):
        raise InvalidRequest(f"content has an integer of more than {MAX_DIGITS} digits")


def _without_strings(content: bytes) -> bytes:
    # Without its escapes, a string is all that stands between two quotes.
    return re.sub(rb'"[^"]*"', b"", content.replace(rb"\\", b"").replace(rb"\"", b""))


def _depth(bare: bytes) -> int:
    """Return how many levels of arrays and objects there are."""
    deepest = depth = 0
    for bracket in re.findall(rb"[\[\]{}]", bare):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
