"""Tails: what comes again is known, and what is new is not taken for known."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.records import LineFormat
from pandaq.routing import partition_for
from pandaq.storage.log import Log
from pandaq.storage.tail import Tail, forecast
from tests.simulated_disk import SimulatedDisk


def log_of(payloads: Sequence[bytes], line_format: LineFormat, segment_bytes: int = 64) -> Log:
    disk = SimulatedDisk()
    disk.make_folder(Path("/data"))
    log = Log(disk, Path("/data/a.log"), line_format, segment_bytes, lambda: 1)
    for payload in payloads:
        log.append([payload])
    return log


def tail_of(payloads: Sequence[bytes], end: int = 0) -> Tail:
    return Tail(log_of(payloads, LineFormat.partition("orders", 0)), end)


def payload(number: int) -> bytes:
    return b"m%d|1" % number


@given(
    sent=st.lists(st.integers(0, 3).map(payload), max_size=12),
    routed=st.integers(0, 12),
    lost=st.sets(st.integers(0, 11)),
    end=st.integers(0, 12),
)
def test_every_message_is_there_and_none_twice_unless_it_was_sent_twice(
    sent: list[bytes], routed: int, lost: set[int], end: int
) -> None:
    end = min(end, routed, len(sent))
    tail = tail_of(sent[:routed], end)
    again = [each for number, each in enumerate(sent[end:]) if number not in lost]
    there = sent[:routed] + tail.new(again)
    assert set(sent[:routed]) | set(again) <= set(there)
    if len(set(sent)) == len(sent):
        assert len(set(there)) == len(there)
    if not lost:
        assert there == sent


def test_what_comes_again_in_parts_is_known_in_parts() -> None:
    tail = tail_of([payload(1), payload(1), payload(2)])
    assert tail.new([payload(1)]) == []
    assert tail.new([payload(1), payload(2), payload(2)]) == [payload(2)]
    assert tail.new([payload(1)]) == [payload(1)]


class TestForecast:
    def test_it_counts_what_a_partition_will_get(self) -> None:
        ids = [b"m%d" % number for number in range(20)]
        log = log_of([b"orders|%b|1" % each for each in ids], LineFormat.ingress("b"))
        found = forecast(log, {"orders": 3}, 6)
        expected = [partition_for(each, 3) for each in ids[5:]]
        assert found == {("orders", n): expected.count(n) for n in set(expected)}

    def test_a_topic_that_is_not_known_counts_for_nothing(self) -> None:
        log = log_of([b"gone|a|1", b"orders|b|1"], LineFormat.ingress("b"))
        assert forecast(log, {"orders": 1}, 1) == {("orders", 0): 1}

    @pytest.mark.parametrize("skipped", [3, 10])
    def test_it_counts_up_to_a_hole(self, skipped: int) -> None:
        log = log_of([b"orders|a|1"] * 2, LineFormat.ingress("b"))
        log.skip(skipped)
        assert forecast(log, {"orders": 1}, 1) == {("orders", 0): 2}
        log.append([b"orders|a|1"])
        assert forecast(log, {"orders": 1}, 1) == {("orders", 0): 2}
        assert forecast(log, {"orders": 1}, skipped) == {}
        assert forecast(log, {"orders": 1}, skipped + 1) == {("orders", 0): 1}
