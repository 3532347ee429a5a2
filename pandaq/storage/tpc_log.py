"""TPC.log: which consumer has which partition (topic, partition, consumer).

    topicId|partitionId|consumerId              a line for every partition that has a consumer
    topicId|partitionId|consumerId|{…}          where there is more to say of it
    topicId||consumerId|{…}                     a member of a group that has no partition

The fourth field is a JSON object, with what is not as in the first form: `group`, `generation` (1),
`leaseMs`, `share`, and `isFree`, where the consumer is the one that had the partition last.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from pandaq.storage.disk import Disk
from pandaq.storage.sealed import read_sealed, write_sealed


class Terms(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The fourth field; see the top of the file."""

    group: str = ""
    generation: int = 1
    lease_ms: int | None = None
    share: bool = False
    is_free: bool = False


class Assignment(Struct, frozen=True):
    """One line; `partition_id` is None for a member that has none."""

    topic_id: str
    partition_id: int | None
    consumer_id: str
    terms: Terms = Terms()


_terms = msgspec.json.Decoder(Terms)


def write_tpc_log(disk: Disk, path: Path, assignments: Iterable[Assignment]) -> None:
    """Put the assignments in place, durably. Raises `OSError`, `SyncFailed`."""
    write_sealed(disk, path, map(_line, assignments))


def read_tpc_log(disk: Disk, path: Path) -> list[Assignment] | None:
    """Return the assignments, None where the file is damaged; none are in a missing file."""
    if not disk.exists(path):
        return []
    lines = read_sealed(disk, path)
    return None if lines is None else list(map(_assignment, lines))


def _line(each: Assignment) -> str:
    number = "" if each.partition_id is None else each.partition_id
    line = f"{each.topic_id}|{number}|{each.consumer_id}"
    if each.terms != Terms():
        line += "|" + msgspec.json.encode(each.terms).decode()
    return line


def _assignment(line: str) -> Assignment:
    topic_id, number, consumer_id, *more = line.split("|", 3)
    terms = _terms.decode(more[0]) if more else Terms()
    return Assignment(topic_id, int(number) if number else None, consumer_id, terms)
