"""The client library against a broker that is killed with no warning and started again."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pandaq_sdk import Batch, Consumer, Message, Producer
from tests.web.broker_process import BrokerProcess, free_port, write_config

BROKER: Final = "end_to_end"
TOPIC: Final = "lines"
PARTITIONS: Final = 3
MESSAGES: Final = 300


class Broker:
    """A broker at one URL, whatever process it is just now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._config = write_config(
            folder / "config.json", {TOPIC: PARTITIONS}, brokerId=BROKER, segmentBytes=200_000
        )
        self._start()

    def _start(self) -> None:
        arguments = ("--config", self._config, "--data", "data", "--port", str(self._port))
        self._process = BrokerProcess(self._folder, *arguments)

    def restart(self) -> None:
        """Kill it and start it again; whether it listens already is the clients' concern."""
        self.kill()
        self._start()

    def kill(self) -> None:
        self._process.kill()

    def producer(self) -> Producer:
        return Producer(BROKER, self.url, TOPIC, retries=10)

    def consumer(self, number: int) -> Consumer:
        name = f"consumer {number}"
        return Consumer(self.url, BROKER, name, TOPIC, retries=10, poll_max_messages=20)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


def lines(count: int) -> list[dict[str, Any]]:
    """Return messages as the lines of a file would give them: every type of JSON, odd ones too."""
    chance = random.Random(count)
    odd: list[Any] = [
        *(None, True, False, 0, -1, 2**63, 1.5e-7, "", 'a|b\nc\r\n\x00\t\\"', "\u2028é\U0001f600"),
        *([], {}, [[[]]], {"": None, "a|b": {"c\nd": ["|"]}}, "x" * 200_000, list(range(5_000))),
    ]

    def value(depth: int = 0) -> Any:
        kind = chance.randrange(6 if depth < 3 else 4)
        if kind == 4:
            return [value(depth + 1) for _ in range(chance.randrange(5))]
        if kind == 5:
            return {f"k{n}|": value(depth + 1) for n in range(chance.randrange(5))}
        return [chance.choice(odd[:10]), chance.random(), chance.getrandbits(40), "|\n" * kind][
            kind
        ]

    values = odd + [value() for _ in range(count - len(odd))]
    return [{"messageId": str(number), "content": each} for number, each in enumerate(values)]


def as_sent(messages: list[Message]) -> list[str]:
    """Return messages as the lines that they were, in the order of their numbers."""
    ordered = sorted(messages, key=lambda message: int(message.message_id))
    return [json.dumps({"messageId": each.message_id, "content": each.content}) for each in ordered]


def take(consumer: Consumer) -> list[Message]:
    """Consume a partition to its end, committing batch by batch."""
    came: list[Message] = []
    while batch := _next(consumer):
        came += batch.messages
        assert consumer.commit_offset(batch.end_offset).new_read_offset == batch.end_offset
    return came


def _next(consumer: Consumer) -> Batch:
    return consumer.batch_consume(max_messages=40, wait_ms=200)


def test_all_lines_come_back_equal_and_once_though_the_broker_is_killed_between(
    broker: Broker,
) -> None:
    sent = lines(MESSAGES)
    with broker.producer() as producer:
        for line in sent[:100]:
            assert producer.produce(line).message_id == line["messageId"]
        broker.restart()
        for start in range(100, MESSAGES, 50):
            assert producer.produce_batch(sent[start : start + 50]).count == 50

    came: list[Message] = []
    with broker.consumer(0) as looping:
        first = looping.batch_consume(max_messages=1, wait_ms=5000)
        assert first.start_offset == 0
        for message in looping:
            came.append(message)
            if len(came) == 30:
                broker.restart()
            if len(came) == 60:
                looping.commit_offset(message.offset)
                break
    assert [message.offset for message in came] == list(range(1, 61))

    consumers = [broker.consumer(number) for number in range(PARTITIONS)]
    assert [consumer.partition_id for consumer in consumers] == [0, 1, 2]
    for consumer in consumers:
        with consumer:
            part = take(consumer)
            numbers = [int(message.message_id) for message in part]
            assert numbers == sorted(numbers), "a partition keeps the order"
            came += part
    broker.restart()
    assert as_sent(came) == [json.dumps(message) for message in sent]

    for number in range(PARTITIONS):
        with broker.consumer(number) as consumer:
            rest = consumer.consume()
            assert rest.count == 0
            assert rest.start_offset == rest.end_offset > 0


def test_a_kill_in_the_middle_of_producing_loses_nothing_and_repeats_only_what_was_sent_again(
    broker: Broker,
) -> None:
    total = 400
    half_way = threading.Event()
    failures: list[BaseException] = []

    def produce(first: int) -> None:
        try:
            with broker.producer() as producer:
                for number in range(first, total, 2):
                    producer.produce({"messageId": number, "content": {"n": number}})
                    if number > total // 2:
                        half_way.set()
        except BaseException as error:  # noqa: BLE001 (told by the test)
            failures.append(error)
            half_way.set()

    threads = [threading.Thread(target=produce, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    assert half_way.wait(20)
    broker.restart()
    for thread in threads:
        thread.join(20)
    assert failures == []

    came: list[Message] = []
    for number in range(PARTITIONS):
        with broker.consumer(number) as consumer:
            came += take(consumer)
    assert {int(message.message_id) for message in came} == set(range(total))
    assert all(message.content == {"n": int(message.message_id)} for message in came)
    assert len(came) <= total + len(threads)
