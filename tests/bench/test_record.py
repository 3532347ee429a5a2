"""Rows of several days in one file."""

from pathlib import Path

import msgspec
import pytest

from bench.record import JSON, PAGE, Record, merged, write
from bench.row import Row, Skipped, part_of
from tests.bench.sample_rows import sample_row


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip(_rows: list[Row], _path: Path) -> Skipped:
        return Skipped("the picture", "not in this test")

    monkeypatch.setattr("bench.record.draw", skip)


def kept(folder: Path) -> Record:
    return msgspec.json.decode((folder / JSON).read_bytes(), type=Record)


def test_a_part_that_is_measured_again_replaces_all_its_rows_and_no_others() -> None:
    old = [sample_row("single"), sample_row("produce"), sample_row("produce-rabbitmq")]
    record = merged(Record(old), [sample_row("produce", ratio=9.0)])
    assert [(row.key, row.ratio and row.ratio.median) for row in record.rows] == [
        ("single", 3.0),
        ("produce", 9.0),
    ]


def test_rows_stand_in_the_order_of_the_parts() -> None:
    rows = [sample_row(key) for key in ("idle", "latency-produce-p50", "single", "large-routed")]
    record = merged(Record(rows[:2]), rows[2:])
    assert [part_of(row) for row in record.rows] == ["single", "latency", "idle", "large"]


def test_parts_that_are_measured_one_by_one_end_up_on_one_page(tmp_path: Path) -> None:
    assert write(tmp_path, [sample_row("consume", title="out")])
    assert write(tmp_path, [sample_row("produce", title="in")])
    assert [row.key for row in kept(tmp_path).rows] == ["produce", "consume"]
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.index("| in |") < page.index("| out |")


def test_what_could_not_be_drawn_is_told_and_not_shown(tmp_path: Path) -> None:
    (skipped,) = write(tmp_path, [sample_row()])
    assert str(skipped) == "skipped: the picture: not in this test"
    assert "![" not in (tmp_path / PAGE).read_text(encoding="utf-8")
