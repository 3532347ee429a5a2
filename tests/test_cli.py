"""`python -m pandaq verify` and `repair`, on real files; and `bench`, on a real broker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pandaq import Broker, Config, Message, TopicConfig
from pandaq.cli import main
from tests.web.live_broker import until


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with 12 messages in one partition."""
    root = tmp_path / "data"
    config = Config(topics=[TopicConfig("orders", 1)], data_dir=root, segment_bytes=20_000)
    with Broker(config) as broker:
        for number in range(12):
            broker.append("orders", [Message.of(f"m{number}", "x" * 6_000)])
    return root


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def spoil(root: Path) -> Path:
    """Flip a bit of a message in a sealed segment."""
    path = min(root.glob("topics/topic_orders/partition_0.0*.log"))
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    return path


def test_a_sound_directory_is_verified_and_not_changed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(data)
    assert main(["verify", str(data)]) == 0
    assert contents(data) == before
    assert capsys.readouterr().out == f"{data}: 12 messages can be read\n{data}: sound\n"


def test_damage_is_told_and_not_touched(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = spoil(data)
    before = contents(data)
    assert main(["verify", str(data)]) == 1
    assert contents(data) == before
    said = capsys.readouterr().out
    assert f"damage: {path}" in said
    assert "lost: topic 'orders', partition 0: offset 1 is lost" in said
    assert f"python -m pandaq repair {data}" in said


def test_a_repair_sets_the_damage_aside_and_leaves_a_sound_directory(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data)
    assert main(["repair", str(data)]) == 0
    assert "what was damaged is kept in" in capsys.readouterr().out
    assert list((data / "damaged").iterdir())
    assert main(["verify", str(data)]) == 0
    said = capsys.readouterr().out
    assert "known: topic 'orders', partition 0: offset 1 is lost" in said
    config = Config(topics=[TopicConfig("orders", 1)], data_dir=data)
    with Broker(config) as broker:
        records = broker.read("orders", 0, 100).records()
        assert [record.message_id for record in records] == [f"m{n}" for n in range(1, 12)]


def test_what_is_lost_in_one_partition_is_not_known_in_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    with Broker(Config(topics=[TopicConfig("orders", 2)], data_dir=root)) as broker:
        broker.append("orders", [Message.of(f"m{number}", number) for number in range(40)])
    for number, code in ((0, 0), (1, 0)):
        path = root / "topics" / "topic_orders" / f"partition_{number}.log"
        path.write_bytes(b"\0" * 9 + path.read_bytes()[9:])
        assert main(["verify", str(root)]) == 1
        assert f"damage: {path}" in capsys.readouterr().out
        assert main(["repair", str(root)]) == code
        assert f"damage: {path}" in capsys.readouterr().out


def test_whoever_reads_may_stop(data: Path) -> None:
    command = [sys.executable, "-m", "pandaq", "verify", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 2


def test_a_file_that_cannot_be_read_is_one_sentence(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "lost.log").mkdir()
    assert main(["verify", str(data)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"pandaq: {data} cannot be read: ")
    assert said.count("\n") == 1


def test_a_repair_of_a_sound_directory_does_nothing(data: Path) -> None:
    before = contents(data)
    assert main(["repair", str(data)]) == 0
    assert contents(data) == before


def test_what_is_no_data_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for command in ("verify", "repair"):
        assert main([command, str(tmp_path)]) == 2
        assert "no data directory of Panda-Q" in capsys.readouterr().err
    assert contents(tmp_path) == {tmp_path / "notes.txt": b"mine"}


def test_a_directory_that_a_broker_is_using_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(topics=[TopicConfig("orders", 1)], data_dir=data)
    with Broker(config):
        for command in ("verify", "repair"):
            assert main([command, str(data)]) == 2
            assert "another broker is using" in capsys.readouterr().err


def test_a_benchmark_prints_its_figures_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--seconds", "0.2", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for what in ("4 KiB written and synced", "single messages", "batches of 500", "p50", "p99"):
        assert what in said
    assert list(tmp_path.iterdir()) == []


def test_the_figures_of_a_benchmark_can_be_read_by_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--seconds", "0.1", "--dir", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cores"] >= 1
    assert [figure["name"] for figure in report["figures"]] == [
        *("diskAppends", "diskBytes", "single", "batches", "consume", "latencyP50", "latencyP99")
    ]
    assert all(figure["value"] > 0 for figure in report["figures"])


def test_a_benchmark_needs_a_folder_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--dir", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "1e9", "nan", "soon"])
def test_a_benchmark_takes_some_time_and_not_for_ever(seconds: str) -> None:
    with pytest.raises(SystemExit):
        main(["bench", f"--seconds={seconds}"])


def test_what_waits_to_be_due_is_counted_and_its_damage_told_and_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    config = Config(topics=[TopicConfig("orders", 1)], data_dir=root)
    with Broker(config) as broker:
        for number in range(3):
            broker.append("orders", [Message.of(f"m{number}", 1, delay_ms=600_000)])
            # Each in a block of its own, or the damage would cost all of them.
            until(lambda: broker.describe().delayed.count == number + 1)  # noqa: B023
    assert main(["verify", str(root)]) == 0
    assert "3 messages wait to be due" in capsys.readouterr().out
    log = root / "delayed.log"
    damaged = bytearray(log.read_bytes())
    damaged[40] ^= 1
    log.write_bytes(damaged)
    assert main(["verify", str(root)]) == 1
    assert f"damage: {log}" in capsys.readouterr().out
    assert main(["repair", str(root)]) == 0
    assert list((root / "damaged").iterdir())
    assert main(["verify", str(root)]) == 0
    assert "2 messages wait to be due" in capsys.readouterr().out
    with Broker(config) as broker:
        assert broker.describe().delayed.count == 2
