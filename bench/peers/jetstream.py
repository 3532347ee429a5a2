"""NATS JetStream, with a stream in files."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

from bench.peers import Load
from bench.servers import LOOPBACK, Server, free_port, missing, program, version_of

SUBJECT: Final = "orders"
CAN_SYNC_ALWAYS: Final = (2, 10)
"""The first version that knows `sync_interval: always`."""


class JetStream:
    """One stream; a batch is as many publishes, of which all acks are awaited together."""

    name = "NATS JetStream"

    def missing(self) -> str | None:
        """Return what to install, if anything."""
        return missing("nats-server", "nats-server", "nats")

    def setting(self) -> str:
        """Return its version and when it syncs."""
        version = version_of("nats-server", "--version")
        if can_sync_always(version):
            return f"NATS {version} JetStream, sync_interval always"
        return f"NATS {version} JetStream, synced every 2 minutes: it cannot be told to always sync"

    def produce_per_s(self, folder: Path, load: Load) -> float:
        """Publish batches."""
        port = free_port()
        sync = can_sync_always(version_of("nats-server", "--version"))
        config = folder / "nats.conf"
        config.write_text(_config(port, folder / "jetstream", sync_always=sync), encoding="utf-8")
        with Server([program("nats-server") or "", "--config", str(config)], folder, port):
            return asyncio.run(_publish_per_s(port, load))


def can_sync_always(version: str) -> bool:
    """Tell whether a version of the server can be told to sync at each write.

    >>> can_sync_always("2.9.10"), can_sync_always("2.10.0")
    (False, True)
    """
    numbers = [int(each) for each in version.split(".")[:2] if each.isdigit()]
    return tuple(numbers) >= CAN_SYNC_ALWAYS


def _config(port: int, store: Path, *, sync_always: bool) -> str:
    sync = "  sync_interval: always\n" if sync_always else ""
    store_dir = json.dumps(str(store))
    return f"listen: {LOOPBACK}:{port}\njetstream {{\n  store_dir: {store_dir}\n{sync}}}\n"


async def _publish_per_s(port: int, load: Load) -> float:
    import nats  # noqa: PLC0415

    client = await nats.connect(f"nats://{LOOPBACK}:{port}")
    try:
        stream = client.jetstream()
        await stream.add_stream(name="bench", subjects=[SUBJECT], storage="file")
        await _publish(stream, load[:2])
        begin = time.perf_counter()
        await _publish(stream, load)
        return sum(map(len, load)) / (time.perf_counter() - begin)
    finally:
        await client.close()


async def _publish(stream: Any, load: Load) -> None:
    for batch in load:
        payloads = [json.dumps(message).encode() for message in batch]
        await asyncio.gather(*(stream.publish(SUBJECT, payload) for payload in payloads))
