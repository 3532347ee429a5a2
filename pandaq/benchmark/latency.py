"""From produce to receive: how long messages travel from one process to another.

Each message is sent at its time on a fixed schedule, whatever became of those before it, and its
latency counts from that time: a producer that is held up does not hide what its messages would
have seen ("coordinated omission", G. Tene). Both processes read one clock, which
`time.perf_counter` is: system-wide, says its documentation.

`python -m pandaq.benchmark.latency consume|produce URL TOPIC PER_SECOND SECONDS CALL` is one of
the two.
"""

import json
import subprocess
import sys
import time
from typing import IO, Final

from pandaq.benchmark.load import BROKER_ID, MessagesMissing, message
from pandaq.benchmark.processes import STOP_S, child_environment
from pandaq_sdk import Consumer, Producer

READY: Final = "ready"
WAIT_MS: Final = 1000
SILENCE_S: Final = 20.0
"""A consumer that gets nothing for this long gives up."""


def latencies_ms(
    url: str, topic_id: str, per_s: int, seconds: float, call: str = "produce"
) -> list[float]:
    """Return the latency of every message, in milliseconds, in the order of arrival.

    `call` is the method of the SDK's producer that sends them; the topic has one partition, which
    nobody consumes yet. Raises `MessagesMissing`.
    """
    arguments = (url, topic_id, str(per_s), str(seconds), call)
    with _process("consume", *arguments) as consumer, _process("produce", *arguments) as producer:
        try:
            # Both have imported what they need before the schedule begins.
            are_ready = [_line(each.stdout) for each in (consumer, producer)]
            text = _go(consumer, producer) if all(are_ready) else ""
        finally:
            for each in (producer, consumer):
                each.kill()
                each.wait(STOP_S)
    arrived: list[float] = json.loads(text or "[]")
    if len(arrived) != count(per_s, seconds):
        raise MessagesMissing(len(arrived), count(per_s, seconds))
    return arrived


def count(per_s: int, seconds: float) -> int:
    """Return how many messages a schedule has: at least one."""
    return max(int(per_s * seconds), 1)


def _process(role: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, "-m", "pandaq.benchmark.latency", role, *arguments],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _go(consumer: subprocess.Popen[str], producer: subprocess.Popen[str]) -> str:
    if producer.stdin:
        producer.stdin.write("go\n")
        producer.stdin.flush()
    return _line(consumer.stdout)


def _line(stream: IO[str] | None) -> str:
    return stream.readline() if stream else ""


# -- in the two processes


def _produce(url: str, topic_id: str, per_s: int, seconds: float, call: str) -> None:
    with Producer(BROKER_ID, url, topic_id) as producer:
        send = getattr(producer, call)
        messages = [message(number) for number in range(count(per_s, seconds))]
        print(READY, flush=True)
        sys.stdin.readline()
        begin = time.perf_counter()
        for number, each in enumerate(messages):
            at = begin + number / per_s
            time.sleep(max(at - time.perf_counter(), 0))
            each["content"]["at"] = at
            send(each)


def _consume(url: str, topic_id: str, expected: int) -> None:
    arrived: list[float] = []
    with Consumer(url, BROKER_ID, "latency", topic_id) as consumer:
        consumer.register()
        print(READY, flush=True)
        last = time.perf_counter()
        while len(arrived) < expected and time.perf_counter() - last < SILENCE_S:
            batch = consumer.batch_consume(wait_ms=WAIT_MS)
            if not batch:
                continue
            last = time.perf_counter()
            arrived += [(last - each.content["at"]) * 1000 for each in batch]
            consumer.commit_offset(batch.end_offset)
    print(json.dumps(arrived), flush=True)


def _main(role: str, url: str, topic_id: str, per_s: str, seconds: str, call: str) -> None:
    if role == "consume":
        _consume(url, topic_id, count(int(per_s), float(seconds)))
    else:
        _produce(url, topic_id, int(per_s), float(seconds), call)


if __name__ == "__main__":
    _main(*sys.argv[1:])
