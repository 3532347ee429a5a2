"""Rows as text and as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.row import Row, disk_of, part_of, verdict
from pandaq.benchmark.spread import Spread, number

HEAD: Final = ("", "Panda-Q", "compared with", "its figure", "ratio", "reach", "this disk alone")
PEER_HEAD: Final = ("", "its figure", "Panda-Q", "ratio", "this disk alone")
PLACE_HEAD: Final = ("when", "where", "Python", "Panda-Q", "parts")

INTRODUCTION: Final = """\
# Benchmarks

Written by `python -m bench --write`; [bench/README.md](../bench/README.md) says how to repeat it.

Each figure is the median of several runs, with the lowest and the highest in brackets. What is
compared was measured in the same runs on the same machine, in turn. The last column is what the
disk did in those runs without any broker: 4 KiB appended and synced, one after the other, and
pieces of 1 MiB. Panda-Q runs as it comes, with `durability: fsync`: every answer is on disk first.
A rate of one machine says little of another; a ratio says more.
"""
PEERS: Final = """\
## Other brokers

The load of `produce` on brokers that do not all promise the same; each is told to sync as often as
it can be told to, and the line says how often that is.
"""
PLACES: Final = "## When and where\n"


def block(row: Row) -> str:
    """Return one row for a terminal, on lines of its own."""
    lines = [("Panda-Q", _with_unit(row.value, row.unit))]
    if row.other:
        lines.append(("compared", f"{_with_unit(row.other, row.unit)}: {row.against}"))
    if row.ratio:
        lines.append(("ratio", _ratio(row)))
    if row.reach:
        lines.append(("reach", verdict(row)))
    lines.append(("the disk", f"{disk_of(row.place)}, without a broker"))
    if row.note:
        lines.append(("note", row.note))
    return "\n".join([row.title, *(f"    {name:10}{what}" for name, what in lines)])


def summary(rows: Sequence[Row]) -> str:
    """Return all rows in a table for a terminal: the figure, the ratio, and what they reach."""
    lines = [
        (
            row.title,
            f"{number(row.value.median)} {row.unit}",
            number(row.ratio.median) if row.ratio else "",
            verdict(row) or f"({row.against})",
        )
        for row in rows
    ]
    lines.insert(0, ("", "Panda-Q", "ratio", "reach"))
    wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, wide)).rstrip() for line in lines)


def markdown(rows: Sequence[Row], picture: str = "") -> str:
    """Return the whole page; `picture` names one beside it."""
    own = [row for row in rows if not row.is_peer]
    peers = [row for row in rows if row.is_peer]
    parts = [INTRODUCTION]
    if picture:
        parts.append(f"![Panda-Q beside what it is compared with]({picture})\n")
    parts += [_markdown_table(HEAD, map(_cells, own)), *_list(_notes(own))]
    if peers:
        parts += [PEERS, _markdown_table(PEER_HEAD, map(_peer_cells, peers))]
        parts += _list(_notes(peers))
    parts += [PLACES, _markdown_table(PLACE_HEAD, _places(rows))]
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.title,
        _with_unit(row.value, row.unit),
        row.against,
        _with_unit(row.other, row.unit),
        _ratio(row),
        verdict(row),
        disk_of(row.place),
    )


def _peer_cells(row: Row) -> tuple[str, ...]:
    value, other = _with_unit(row.value, row.unit), _with_unit(row.other, row.unit)
    return row.against, other, value, _ratio(row), disk_of(row.place)


def _with_unit(spread: Spread | None, unit: str) -> str:
    return f"{spread} {unit}" if spread else ""


def _ratio(row: Row) -> str:
    return str(row.ratio) if row.ratio else ""


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.against if row.is_peer else row.title}: {row.note}" for row in rows if row.note]


def _places(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Yield when and where parts were measured, those of one time and place together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        place = row.place
        where = f"{place.system}, {place.cores} cores, {place.file_system or 'unknown file system'}"
        parts = together.setdefault((place.date, where, place.python, place.pandaq), [])
        parts.append(part_of(row))
    for cells, parts in together.items():
        yield (*cells, ", ".join(dict.fromkeys(parts)))


def _markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    ruled = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def _list(lines: Sequence[str]) -> list[str]:
    return ["".join(f"- {line}\n" for line in lines)] if lines else []
