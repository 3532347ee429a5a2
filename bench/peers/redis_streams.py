"""Redis Streams, synced at each write."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.peers import Load
from bench.servers import LOOPBACK, Server, free_port, missing, program, version_of
from pandaq.benchmark.load import MessagesMissing

STREAM: Final = "orders"
GROUP: Final = "readers"
WARM_UP: Final = "warm-up"


class RedisStreams:
    """One stream; a batch is one pipeline of XADD, or one XREADGROUP and one XACK."""

    name = "Redis Streams"

    def missing(self) -> str | None:
        """Return what to install, if anything."""
        return missing("redis-server", "redis-server", "redis")

    def setting(self) -> str:
        """Return its version and when it syncs."""
        return f"Redis {version_of('redis-server', '--version')} Streams, appendfsync always"

    def produce_per_s(self, folder: Path, load: Load) -> float:
        """Add batches to the stream."""
        with _redis(folder) as client:
            _add(client, WARM_UP, load[:2])
            begin = time.perf_counter()
            _add(client, STREAM, load)
            return sum(map(len, load)) / (time.perf_counter() - begin)

    def consume_per_s(self, folder: Path, load: Load) -> float:
        """Add batches, then read and acknowledge batches of the size of the first."""
        # What its client has by default is the faster one for adding, this one for reading.
        with _redis(folder, protocol=2) as client:
            _add(client, STREAM, load)
            client.xgroup_create(STREAM, GROUP, id="0")
            begin = time.perf_counter()
            count = sum(map(len, load))
            _read(client, count, len(load[0]))
            return count / (time.perf_counter() - begin)


def _add(client: Any, stream: str, load: Load) -> None:
    for batch in load:
        pipeline = client.pipeline(transaction=False)
        for message in batch:
            content = json.dumps(message["content"])
            pipeline.xadd(stream, {"messageId": message["messageId"], "content": content})
        pipeline.execute()


def _read(client: Any, count: int, size: int) -> None:
    left = count
    while left > 0:
        answer = client.xreadgroup(GROUP, "reader", {STREAM: ">"}, count=size)
        if not answer:
            raise MessagesMissing(count - left, count)
        ((_, entries),) = answer
        for _, fields in entries:
            json.loads(fields[b"content"])
        client.xack(STREAM, GROUP, *(entry for entry, _ in entries))
        left -= len(entries)


@contextmanager
def _redis(folder: Path, **options: Any) -> Iterator[Any]:
    import redis  # noqa: PLC0415

    port = free_port()
    command = [
        *(program("redis-server") or "redis-server", "--bind", LOOPBACK, "--port", str(port)),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        # Nothing is rewritten in the background meanwhile.
        *("--auto-aof-rewrite-percentage", "0"),
    ]
    with Server(command, folder, port), redis.Redis(LOOPBACK, port, **options) as client:
        client.ping()
        yield client
