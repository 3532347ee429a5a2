"""`python -m bench`, with tiny sizes and nothing but Panda-Q."""

from pathlib import Path

import pytest

from bench.__main__ import main


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bench.servers", "bench.singles"):
        monkeypatch.setattr(f"{module}.program", lambda _name: None)


@pytest.mark.usefixtures("nothing_installed")
def test_single_messages_are_measured_by_our_own_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["single", "--quick", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "single: single messages over 32 connections" in said.err
    assert "that only decodes and echoes" in said.out
    assert "the load is from our own client" in said.out
    assert "≥ 0.80: " in said.out
    assert "not measured" not in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_installed")
def test_without_redis_batches_are_measured_and_nothing_is_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["produce", "--quick", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "≥ 2.50: not measured" in said.out
    assert "ratio" not in said.out
    for peer in ("Redis Streams", "NATS JetStream", "RabbitMQ", "beanstalkd"):
        assert f"skipped: {peer}: " in said.err


def test_a_part_that_fails_is_told_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A broker that cannot listen where it should.
    monkeypatch.setattr("bench.parts.partitions.NAMES", {5000: "too many"})
    assert main(["partitions", "--quick", "--dir", str(tmp_path)]) == 2
    assert "partitions: not measured: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no part 'nonsense'; there are single, produce"),
        (["single", "--quick", "--write"], "mean nothing"),
        (["single", "--runs", "0"], "0 is less than 1"),
        (["single", "--dir", "no/such/folder"], "is no folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err
