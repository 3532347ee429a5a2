"""Send a file of JSON lines through a broker that is killed in the middle, and compare.

    python sdk/examples/ndjson_round_trip.py FILE

Starts a broker of its own in a temporary directory, produces every line (messageId: its number,
content: its value), kills the broker half-way with no warning and starts it again, then consumes
all partitions, kills it once more between two commits, and checks that what came out is what went
in, each message once and in order. Exit code 0 where it is.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pandaq_sdk import Consumer, Producer

BROKER_ID = "round_trip"
TOPIC = "lines"
PARTITIONS = 3
BATCH = 50


class BrokerProcess:
    """A broker in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        config = {"brokerId": BROKER_ID, "topics": [{"id": TOPIC, "partitions": PARTITIONS}]}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def start(self) -> None:
        """Start it; clients wait for it by trying again."""
        options = ["--config", "config.json", "--data", "data", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pandaq.web", *options], cwd=self._folder
        )

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()


def read_lines(path: Path) -> dict[str, Any]:
    """Return the value of each line that is not blank, by its number as text."""
    with path.open(encoding="utf-8") as lines:
        return {str(n): json.loads(line) for n, line in enumerate(lines, 1) if line.strip()}


def produce(broker: BrokerProcess, values: dict[str, Any]) -> None:
    """Produce all values: the first half one by one, then, after a kill, the rest in batches."""
    messages = [{"messageId": key, "content": value} for key, value in values.items()]
    half = len(messages) // 2
    with Producer(BROKER_ID, broker.url, TOPIC) as producer:
        for message in messages[:half]:
            producer.produce(message)
        broker.restart()
        for start in range(half, len(messages), BATCH):
            producer.produce_batch(messages[start : start + BATCH])


def consume(broker: BrokerProcess, expected: int) -> Iterator[tuple[int, str, Any]]:
    """Yield partition, messageId and content of every message, and commit them."""
    with ExitStack() as stack:
        consumers = [
            stack.enter_context(Consumer(broker.url, BROKER_ID, f"consumer-{number}", TOPIC))
            for number in range(PARTITIONS)
        ]
        deadline = time.monotonic() + 60
        killed = False
        while expected > 0 and time.monotonic() < deadline:
            for consumer in consumers:
                batch = consumer.batch_consume(max_messages=BATCH, wait_ms=200)
                for message in batch.messages:
                    yield consumer.partition_id, message.message_id, message.content
                consumer.commit_offset(batch.end_offset)
                expected -= batch.count
                if not killed and batch.count:
                    broker.restart()
                    killed = True
        for consumer in consumers:  # Nothing more should come.
            for message in consumer.batch_consume().messages:
                yield consumer.partition_id, message.message_id, message.content


def main() -> int:
    """Do the round trip; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON values, one a line")
    values = read_lines(parser.parse_args().file)
    with TemporaryDirectory() as folder:
        broker = BrokerProcess(Path(folder))
        broker.start()
        try:
            produce(broker, values)
            came = list(consume(broker, len(values)))
        finally:
            broker.kill()
    equal = {key: content for _, key, content in came} == values
    once = len(came) == len(values)
    in_order = all(
        int(one) < int(following)
        for partition in range(PARTITIONS)
        for one, following in pairwise(key for number, key, _ in came if number == partition)
    )
    print(f"{len(values)} sent, {len(came)} came back; {equal=}, {once=}, {in_order=}")
    return 0 if equal and once and in_order else 1


if __name__ == "__main__":
    sys.exit(main())
