"""Rows as a measurement would give them."""

from typing import Any, Final

from bench.row import Place, Reach, Row
from pandaq.benchmark.spread import Spread

PLACE: Final = Place(
    date="2026-01-31",
    pandaq="0.1.0",
    python="3.11.7",
    system="Linux x86_64",
    cores=2,
    file_system="ext4",
    disk_appends_per_s=Spread(4000, 3000, 5000, 5),
    disk_mb_per_s=Spread(800, 700, 900, 5),
)
AT_LEAST: Final = Reach("ratio", "at least", 2.5)


def spread(median: float) -> Spread:
    return Spread(median, median * 0.9, median * 1.2, 5)


def sample_row(key: str = "produce", ratio: float | None = 3.0, **fields: Any) -> Row:
    """Return a row that is `ratio` times as fast as Redis, or that no Redis was there for."""
    given: dict[str, Any] = {
        "title": "batches of 500",
        "unit": "messages/s",
        "value": spread(60_000),
        "reach": AT_LEAST,
        "place": PLACE,
    }
    if ratio is not None:
        other = {"against": "Redis 7, always", "other": spread(60_000 / ratio)}
        given |= {**other, "ratio": spread(ratio)}
    return Row(key=key, **(given | fields))
