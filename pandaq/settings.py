"""A setting: how its value is checked, and how a wrong one is told.

What is right is declared once, as the type of a field, with its limits in `msgspec.Meta`; the check
and the words of the error are both made from it. A sentence reads the same wherever the value came
from:

    /etc/pandaq.json: topics[1].partitions is 0; it must be a whole number from 1 to 1000
    └── source        └── field               └── problem
"""

import os
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct, inspect
from msgspec.structs import FieldInfo, fields, force_setattr

from pandaq.errors import ConfigError
from pandaq.ids import shown


class SettingError(ConfigError):
    """One setting is wrong: `field` is its name in `source`, `problem` the rest of the sentence."""

    def __init__(self, field: str, problem: str, source: str) -> None:
        super().__init__(f"{source}: {field or 'the content'} {problem}")
        self.field = field
        self.problem = problem
        self.source = source

    def inside(self, outer: str) -> Self:
        """Return the same error for a field that is part of the field `outer`."""
        field = f"{outer}.{self.field}" if self.field else outer
        return type(self)(field, self.problem, self.source)

    def found_in(self, source: str) -> Self:
        """Return the same error for a value that came from `source`."""
        return type(self)(self.field, self.problem, source)


def check(settings: Struct) -> None:
    """Check each field by its type, and keep it as that type: a `str` becomes a `Path`.

    For a `__post_init__`. Raises `SettingError`, which names the field as files do.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        try:
            checked = msgspec.convert(value, field.type, dec_hook=_path)
        except (msgspec.ValidationError, UnicodeError):  # the latter for a lone surrogate
            raise wrong(settings, field.encode_name, value, _right(field)) from None
        force_setattr(settings, field.name, checked)


def wrong(settings: Struct, field: str, value: object, right: str) -> SettingError:
    """Return the error for a `value` that is not what is `right`, such as "true or false"."""
    problem = f"is {shown(value)}; it must be {right}"
    return SettingError(field, problem, f"{type(settings).__name__}(...)")


def _path(kind: type, value: object) -> Path:
    if not (kind is Path and isinstance(value, str | Path)):
        raise ValueError
    text = str(value)
    if not text.strip() or "\0" in text:
        raise ValueError
    os.fsencode(text)  # raises a ValueError where the system cannot have such a name
    return Path(text)


def _right(field: FieldInfo) -> str:
    return _in_words(inspect.type_info(field.type))


def _in_words(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType(ge=low, le=high):
            words = f"a whole number from {low} to {high}"
        case inspect.BoolType():
            words = "true or false"
        case inspect.LiteralType(values=values):
            words = f"one of {', '.join(map(str, values))}"
        case inspect.UnionType(types=types):
            words = " or ".join(sorted(map(_in_words, types), key="null".__ne__))
        case inspect.NoneType():
            words = "null"
        case inspect.CustomType():
            words = "a path in quotes, such as './data'"
        case inspect.StructType(fields=parts):
            needed = [part for part in parts if part.required] or parts
            words = f"an object with {', '.join(part.encode_name for part in needed)}"
        case inspect.CollectionType(max_length=most, item_type=item):
            words = f"a list of 1 to {most}, each {_in_words(item)}"
        case inspect.Metadata(extra_json_schema={"description": str(words)}):
            pass
        case _:
            words = "text in quotes"
    return words
