"""The pieces of a benchmark, with tiny loads on a real broker."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pandaq.benchmark.disk_rate import DiskRate, disk_rate, file_system, mounted_at
from pandaq.benchmark.latency import count, latencies_ms
from pandaq.benchmark.load import (
    BROKER_ID,
    MessagesMissing,
    batches,
    consume_all,
    message,
    produce_until_routed,
    routed,
)
from pandaq.benchmark.posting import NotAnswered, post_for, single_bodies
from pandaq.benchmark.processes import (
    BrokerProcess,
    DidNotStart,
    ListeningProcess,
    child_environment,
)
from pandaq.benchmark.progress import Progress
from pandaq.benchmark.spread import Spread, number, percentile


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp("broker")
    with BrokerProcess(folder, {"orders": 3, "single": 1, "latency": 1}) as process:
        yield process


class TestSpread:
    def test_the_median_is_shown_with_the_lowest_and_the_highest(self) -> None:
        assert str(Spread.of([3000.0, 1000.0, 1100.0])) == "1,100 (1,000 to 3,000)"

    def test_one_run_has_nothing_to_lie_between(self) -> None:
        assert str(Spread.of([0.5])) == "0.500"

    @pytest.mark.parametrize(
        ("percent", "value"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
    )
    def test_a_percentile_is_one_of_the_values(self, percent: float, value: float) -> None:
        assert percentile([float(n) for n in range(100, 0, -1)], percent) == value

    def test_no_values_have_no_percentile(self) -> None:
        with pytest.raises(ValueError, match="no values"):
            percentile([], 50)

    def test_a_negative_figure_keeps_its_sign(self) -> None:
        assert [number(-1234.5), number(-0.25)] == ["-1,234", "-0.250"]


class TestDisk:
    def test_both_rates_are_measured_and_nothing_is_left(self, tmp_path: Path) -> None:
        rate = disk_rate(tmp_path, 0.05)
        assert rate.appends_per_s > 0
        assert rate.mb_per_s > 0
        assert list(tmp_path.iterdir()) == []

    def test_rates_read_as_a_sentence_does(self) -> None:
        assert str(DiskRate(appends_per_s=4000, mb_per_s=87.64)) == "4,000 fsync/s, 87.6 MB/s"

    def test_the_nearest_mount_above_counts(self) -> None:
        mounted = {"/": "ext4", "/data": "xfs", "/data/tmp": "tmpfs"}
        kinds = [mounted_at(Path(at), mounted) for at in ("/data/tmp/a", "/data/a", "/home")]
        assert kinds == ["tmpfs", "xfs", "ext4"]

    def test_a_system_that_does_not_say_has_no_kind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pandaq.benchmark.disk_rate.MOUNTS", tmp_path / "none")
        assert file_system(tmp_path) == ""


class TestProcesses:
    def test_what_ends_before_it_listens_is_told_with_what_it_said(self, tmp_path: Path) -> None:
        with (
            BrokerProcess(tmp_path, {"orders": 3}, threads="many") as process,
            pytest.raises(DidNotStart, match="threads is 'many'"),
        ):
            _ = process.url

    def test_a_broker_is_started_again_on_what_it_left(self, tmp_path: Path) -> None:
        with BrokerProcess(tmp_path, {"orders": 1}) as process:
            assert 0 < process.first_answer_s() < 30
            produce_until_routed(process.url, "orders", batches(3))
            process.kill()
        with BrokerProcess(tmp_path, {"orders": 1}) as process:
            assert routed(process.url, "orders") == 3

    def test_a_process_that_is_stopped_is_gone_and_may_be_stopped_again(
        self, tmp_path: Path
    ) -> None:
        process = ListeningProcess(["-c", "import time; time.sleep(60)"], tmp_path)
        process.stop()
        process.stop()
        assert process._process.poll() is not None

    def test_a_child_does_not_inherit_the_settings_of_a_broker(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATA_STORAGE_VOLUME", "/somewhere")
        assert "DATA_STORAGE_VOLUME" not in child_environment()


class TestLoad:
    def test_the_body_of_a_single_message_is_about_130_bytes(self) -> None:
        (body,) = single_bodies([message(123_456)])
        assert 120 <= len(body) <= 140
        assert json.loads(body)["message"]["messageId"] == "msg-00123456"

    def test_all_that_is_produced_is_consumed_once(self, broker: BrokerProcess) -> None:
        done = produce_until_routed(broker.url, "orders", batches(1_200))
        assert done.count == 1_200
        assert done.per_s > 0
        assert consume_all(broker.url, "orders", 3).count == 1_200
        assert consume_all(broker.url, "orders", 3).count == 0

    def test_single_messages_are_posted_over_many_connections(self, broker: BrokerProcess) -> None:
        bodies = single_bodies([message(n) for n in range(10)])
        done = post_for(broker.url, "/ingress/single", bodies, 0.2, connections=4)
        assert done.count >= 4
        assert broker.stats()["ingressBuffer"]["logEndOffset"] >= done.count

    def test_a_message_that_is_refused_ends_the_measurement(self, broker: BrokerProcess) -> None:
        bodies = single_bodies([message(1)])
        with pytest.raises(NotAnswered, match="404"):
            post_for(broker.url, "/ingress/unknown", bodies, 0.2, connections=2)


class TestLatency:
    def test_every_message_of_the_schedule_has_a_latency(self, broker: BrokerProcess) -> None:
        arrived = latencies_ms(broker.url, "latency", 100, 0.2)
        assert len(arrived) == count(100, 0.2) == 20
        assert all(0 < each < 20_000 for each in arrived)

    def test_a_schedule_that_cannot_be_kept_is_an_error(self, broker: BrokerProcess) -> None:
        with pytest.raises(MessagesMissing, match="only 0 of 20"):
            latencies_ms(broker.url, "latency", 100, 0.2, "no_such_call")

    def test_the_shortest_schedule_has_one_message(self) -> None:
        assert count(100, 0.001) == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    def test_on_a_terminal_one_line_changes(self) -> None:
        stream = _Terminal()
        progress = Progress(stream)
        progress.show("one")
        progress.show("two")
        progress.done()
        shown = stream.getvalue()
        assert "\n" not in shown
        assert [text.strip() for text in shown.split("\r")] == ["", "one", "two", "", ""]

    def test_in_a_pipe_there_are_few_lines(self) -> None:
        stream, now = io.StringIO(), [0.0]
        progress = Progress(stream, clock=lambda: now[0])
        for second in range(41):
            now[0] = float(second)
            progress.show(f"at {second}")
        progress.done()
        assert stream.getvalue() == "  at 15\n  at 30\n"


def test_the_broker_of_a_benchmark_is_the_one_that_the_sdk_asks_for(broker: BrokerProcess) -> None:
    assert broker.stats()["brokerId"] == BROKER_ID
    assert broker.stats()["durability"] == "fsync"
