"""docs/benchmarks.json, and what is made of it: the page and its picture.

Parts that were measured at different times stand together: a part that is measured again takes the
place of its former rows, and the others stay.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.parts import PARTS
from bench.plot import draw
from bench.row import Row, Skipped, part_of
from bench.table import markdown

JSON: Final = "benchmarks.json"
PAGE: Final = "benchmarks.md"
PICTURE: Final = "benchmarks.svg"


class Record(Struct, frozen=True):
    """All rows that are kept, in the order of the table."""

    rows: list[Row] = []


def merged(record: Record, rows: Iterable[Row]) -> Record:
    """Return a record in which the parts of the newer rows have these alone."""
    newer = list(rows)
    parts = {part_of(row) for row in newer}
    kept = [row for row in record.rows if part_of(row) not in parts]
    order = list(PARTS)
    return Record(sorted(kept + newer, key=lambda row: order.index(part_of(row))))


def write(folder: Path, rows: Sequence[Row]) -> list[Skipped]:
    """Merge rows into what `folder` has, and write the page; return what could not be drawn."""
    path = folder / JSON
    kept = msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else Record()
    record = merged(kept, rows)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    picture = folder / PICTURE
    skipped = draw(record.rows, picture)
    (folder / PAGE).write_text(
        markdown(record.rows, PICTURE if picture.exists() else ""), encoding="utf-8"
    )
    return [skipped] if skipped else []
