"""Which names may travel: the rules for topic, broker, consumer and message ids.

A topicId names a folder, so nothing may pass that any file system, Windows included, takes for
something else:

    topicId, brokerId    1 to 200 of A-Z a-z 0-9 . _ -, not ending in ".", and none of the names
                         that Windows reserves (con, prn, aux, nul, com0-9, lpt0-9), in upper or
                         lower case, alone or before a "."
    consumerId, group    1 to 200 bytes of UTF-8, no control characters, no "|"
    messageId, key       1 to 512 bytes of UTF-8, any characters

The reserved names are those of Microsoft's "Naming Files, Paths, and Namespaces". CONIN$ and
CONOUT$ belong to them, but "$" is outside the set anyway, and "." and ".." end in ".".
"""

import re
import reprlib
from collections.abc import Sequence
from typing import Final

from pandaq.errors import InvalidRequest

MAX_CONSUMER_ID_BYTES: Final = 200
"""Longest consumerId or group, in bytes of UTF-8."""

MAX_MESSAGE_ID_BYTES: Final = 512
"""Longest messageId, in bytes of UTF-8."""

NAME_RULE: Final = (
    "1 to 200 of the characters A-Z a-z 0-9 . _ - that do not end in '.' "
    "and are no name that Windows reserves (such as con or nul.txt)"
)
"""The rule for topicId and brokerId in words, for the end of a sentence."""


def check_topic_id(text: str) -> None:
    """Raise `InvalidRequest` unless `text` may be the id of a topic.

    >>> check_topic_id("orders")
    >>> check_topic_id("../orders")
    Traceback (most recent call last):
    pandaq.errors.InvalidRequest: topicId is '../orders'; it must be 1 to 200 of the characters...
    """
    _check_name(text, "topicId")


DEAD_LETTERS: Final = ".dlq"
"""How the id of a topic of dead letters ends."""


def dead_letters_of(topic_id: str) -> str:
    """Return the id of the topic that takes what consumers of a topic refuse too often.

    >>> dead_letters_of("orders")
    'orders.dlq'
    """
    return topic_id + DEAD_LETTERS


def topic_of_dead_letters(topic_id: str) -> str | None:
    """Return the topic that a topic of dead letters belongs to, None where it is no such topic.

    >>> topic_of_dead_letters("orders.dlq"), topic_of_dead_letters("orders")
    ('orders', None)
    """
    return topic_id.removesuffix(DEAD_LETTERS) if topic_id.endswith(DEAD_LETTERS) else None


def check_broker_id(text: str) -> None:
    """Raise `InvalidRequest` unless `text` may be the id of a broker: the rule of a topicId."""
    _check_name(text, "brokerId")


def check_consumer_id(text: str, field: str = "consumerId") -> None:
    """Raise `InvalidRequest` unless `text` may be a consumerId, or the `field` named instead.

    >>> check_consumer_id("Büro 2")
    >>> check_consumer_id("a|b", "group")
    Traceback (most recent call last):
    pandaq.errors.InvalidRequest: group is 'a|b'; it must be 1 to 200 bytes of UTF-8...
    """
    if not _CONSUMER.fullmatch(text) or len(text.encode()) > MAX_CONSUMER_ID_BYTES:
        msg = (
            f"{field} is {shown(text)}; it must be 1 to {MAX_CONSUMER_ID_BYTES} bytes of UTF-8 "
            "without control characters and without '|'"
        )
        raise InvalidRequest(msg)


def check_message_id(text: str, field: str = "messageId") -> None:
    """Raise `InvalidRequest` unless `text` may be the id of a message, or another `field` so.

    >>> check_message_id("any | thing")
    >>> check_message_id("")
    Traceback (most recent call last):
    pandaq.errors.InvalidRequest: messageId is ''; it must be 1 to 512 bytes of UTF-8
    """
    if not 0 < _utf8_length(text) <= MAX_MESSAGE_ID_BYTES:
        msg = f"{field} is {shown(text)}; it must be 1 to {MAX_MESSAGE_ID_BYTES} bytes of UTF-8"
        raise InvalidRequest(msg)


def are_message_ids(texts: Sequence[str]) -> bool:
    """Tell quickly of several that none would be refused; False says nothing.

    >>> are_message_ids(["a", "b|c"]), are_message_ids(["a", ""])
    (True, False)
    """
    lengths = list(map(len, texts))
    # No character has more than four bytes.
    return (
        min(lengths) > 0
        and max(lengths) <= MAX_MESSAGE_ID_BYTES // 4
        and _utf8_length("".join(texts)) > 0
    )


def shown(value: object) -> str:
    r"""Return a value as an error shows it: on one line, quoted where it is text, and not long.

    >>> print(shown("orders\n"), shown(None), shown(True), shown(["a", 1]))
    'orders\n' null true ['a', 1]
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    plain = isinstance(value, str | bytes | int | float | list | tuple | dict | set)
    try:
        text = _SHORT.repr(value if plain else str(value))
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_NAME: Final = re.compile(
    r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z))[A-Za-z0-9._-]{1,200}(?<!\.)"
)
# Cc is U+0000 to U+001F and U+007F to U+009F; a lone surrogate has no UTF-8.
_CONSUMER: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f|\ud800-\udfff]{1,200}")

_LONGEST: Final = 160
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80
_SHORT.maxlevel = 3


def _check_name(text: str, field: str) -> None:
    if not _NAME.fullmatch(text):
        msg = f"{field} is {shown(text)}; it must be {NAME_RULE}"
        raise InvalidRequest(msg)


def _utf8_length(text: str) -> int:
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return -1
