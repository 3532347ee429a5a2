"""Which bars the picture has."""

from pathlib import Path

import pytest

from bench.plot import draw, limit_bars, ratio_bars
from bench.row import Reach
from tests.bench.sample_rows import sample_row, spread

LATENCY = sample_row(
    "latency-p50", unit="ms", value=spread(4.0), reach=Reach("value", "at most", 5, "ms")
)
MEMORY = sample_row(
    "backlog-memory",
    ratio=None,
    unit="MiB",
    value=spread(62),
    other=spread(30),
    reach=Reach("growth", "at most", 64, "MiB"),
)


def test_a_rate_is_a_bar_with_a_mark_where_it_should_reach() -> None:
    (bar,) = ratio_bars([sample_row(ratio=3.0), LATENCY, sample_row(ratio=None)])
    assert (bar.value, bar.mark, bar.label) == (3.0, 2.5, "batches of 500\nagainst Redis 7")


def test_a_limit_is_a_bar_of_what_is_used_of_it() -> None:
    latency, memory = limit_bars([sample_row(), LATENCY, MEMORY])
    assert latency.value == pytest.approx(80)
    assert memory.value == pytest.approx(50)
    assert memory.text == "+32.0 of 64 MiB"


def test_what_shrinks_uses_nothing() -> None:
    (bar,) = limit_bars([sample_row(value=spread(20), other=spread(30), reach=MEMORY.reach)])
    assert bar.value == 0


def test_without_matplotlib_the_picture_is_skipped_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    skipped = draw([sample_row()], tmp_path / "picture.svg")
    assert skipped
    assert "pip install '.[bench]'" in str(skipped)
    assert not (tmp_path / "picture.svg").exists()
