"""Runs that alternate."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.rounds import DISK_APPENDS, FSYNC_MS, Rounds, alternate
from bench.setting import Setting
from pandaq.benchmark.spread import Spread


def test_each_run_has_everything_in_turn_and_an_empty_folder(tmp_path: Path) -> None:
    seen: list[str] = []
    folders: set[Path] = set()

    def contender(name: str) -> Mapping[str, float]:
        seen.append(name)
        return {name: float(len(seen))}

    def in_folder(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "left behind").touch()
        folders.add(folder)

    def a(folder: Path) -> Mapping[str, float]:
        in_folder(folder)
        return contender("a")

    def b(folder: Path) -> Mapping[str, float]:
        in_folder(folder)
        return contender("b")

    rounds = alternate(Setting(tmp_path, runs=3, quick=True), {"a": a, "b": b})
    assert seen == ["a", "b"] * 3
    assert rounds.figures["a"] == [1, 3, 5]
    assert len(folders) == 6
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_measured_in_each_run(tmp_path: Path) -> None:
    rounds = alternate(Setting(tmp_path, runs=2, quick=True), {})
    assert rounds.spread(DISK_APPENDS).runs == 2
    for per_s, ms in zip(rounds.figures[DISK_APPENDS], rounds.figures[FSYNC_MS], strict=True):
        assert per_s * ms == pytest.approx(1000)


def test_a_ratio_is_made_within_each_run_before_its_median_is_taken() -> None:
    rounds = Rounds({"ours": [100.0, 30.0, 80.0], "theirs": [50.0, 10.0, 20.0]})
    assert rounds.ratio("ours", "theirs") == Spread(3.0, 2.0, 4.0, 3)


def test_runs_that_do_not_pair_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Rounds({"ours": [1.0, 2.0], "theirs": [1.0]}).ratio("ours", "theirs")
