"""The parts of the measurement; `python -m bench PART` runs one of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench.parts import (
    backlog,
    consume,
    idle,
    large,
    latency,
    partitions,
    produce,
    single,
    sustained,
)
from bench.row import Row, Skipped
from bench.setting import Setting


@dataclass(frozen=True, slots=True)
class Part:
    """What a part says at its start, and what measures it: it yields rows, and what it skips."""

    says: str
    measure: Callable[[Setting], Iterator[Row | Skipped]]


PARTS: Final[Mapping[str, Part]] = {
    "single": Part(single.SAYS, single.measure),
    "produce": Part(produce.SAYS, produce.measure),
    "consume": Part(consume.SAYS, consume.measure),
    "latency": Part(latency.SAYS, latency.measure),
    "backlog": Part(backlog.SAYS, backlog.measure),
    "partitions": Part(partitions.SAYS, partitions.measure),
    "idle": Part(idle.SAYS, idle.measure),
    "large": Part(large.SAYS, large.measure),
    "sustained": Part(sustained.SAYS, sustained.measure),
}
"""By name, in the order of the table; the key of a row begins with the name of its part."""
