"""What a row says of itself."""

import msgspec
import pytest

from bench.row import Reach, Row, disk_of, verdict
from tests.bench.sample_rows import PLACE, sample_row, spread


def test_a_ratio_reaches_its_limit_or_does_not() -> None:
    assert verdict(sample_row(ratio=2.5)) == "≥ 2.50: reached"
    assert verdict(sample_row(ratio=2.49)) == "≥ 2.50: not reached"


def test_without_the_other_there_is_no_verdict() -> None:
    row = sample_row(ratio=None)
    assert row.reached is None
    assert verdict(row) == "≥ 2.50: not measured"


def test_where_nothing_is_asked_nothing_is_said() -> None:
    row = sample_row(reach=None)
    assert row.reached is None
    assert verdict(row) == ""


@pytest.mark.parametrize(("value", "word"), [(5.0, "reached"), (5.1, "not reached")])
def test_a_value_is_held_against_its_own_limit(value: float, word: str) -> None:
    reach = Reach("value", "at most", 5, "ms")
    row = sample_row(ratio=None, value=spread(value), reach=reach)
    assert verdict(row) == f"≤ 5 ms: {word}"


@pytest.mark.parametrize(("value", "word"), [(94.0, "reached"), (94.1, "not reached")])
def test_growth_is_what_is_above_the_other(value: float, word: str) -> None:
    reach = Reach("growth", "at most", 64, "MiB")
    row = sample_row(value=spread(value), other=spread(30), ratio=None, reach=reach)
    assert verdict(row) == f"≤ +64 MiB: {word}"


def test_growth_over_nothing_is_not_measured() -> None:
    row = sample_row(ratio=None, reach=Reach("growth", "at most", 64, "MiB"))
    assert verdict(row).endswith(": not measured")


def test_the_disk_is_told_by_its_medians() -> None:
    assert disk_of(PLACE) == "4,000 fsync/s, 800 MB/s"


@pytest.mark.parametrize("row", [sample_row(), sample_row(ratio=None, reach=None)])
def test_a_row_is_the_same_after_it_was_kept_as_json(row: Row) -> None:
    assert msgspec.json.decode(msgspec.json.encode(row), type=Row) == row
