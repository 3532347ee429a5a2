"""A broker without threads: what the actors do to a store, one call after the other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pandaq.config import Config, Retention, TopicConfig
from pandaq.extra import Extra, decode_extra, encode_extra
from pandaq.message import Message
from pandaq.records import decode_record, extra_of, keys_of, with_extra
from pandaq.routing import partition_for
from pandaq.storage.block import Block
from pandaq.storage.delayed import KEY
from pandaq.storage.disk import Disk
from pandaq.storage.journal import partition_key
from pandaq.storage.log import Log
from pandaq.storage.queue import Queue
from pandaq.storage.recovery import open_store
from pandaq.storage.tpc_log import Assignment
from tests.messages import encoded

DATA: Final = Path("/data")
ALL: Final = 1_000_000


def small_config(
    topics: Mapping[str, int] | None = None,
    *,
    segment_bytes: int = 512,
    tail_bytes: int = 0,
    retention: Retention | None = None,
    reboot: bool = False,
    ingress_log: Path | None = None,
) -> Config:
    """Return a configuration with small segments in `DATA`."""
    return Config(
        topics=[TopicConfig(*topic) for topic in (topics or {"orders": 2, "events": 1}).items()],
        data_dir=DATA,
        ingress_log_file=ingress_log,
        segment_bytes=segment_bytes,
        tail_bytes=tail_bytes,
        retention=retention or Retention(max_age_ms=None),
        reboot=reboot,
    )


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class PlainBroker:
    """An open store, and the calls that the actors make on it."""

    def __init__(self, disk: Disk, config: Config, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.store = open_store(config, disk, self.clock)

    def queue(self, topic_id: str, partition_id: int) -> Queue:
        return self.store.topics[topic_id].partitions[partition_id]

    def queues(self) -> dict[tuple[str, int], Queue]:
        return {
            (topic_id, number): queue
            for topic_id, topic in self.store.topics.items()
            for number, queue in enumerate(topic.partitions)
        }

    def produce(
        self,
        topic_id: str,
        *message_ids: str,
        content: bytes = b"1",
        deliver_at: int | None = None,
    ) -> None:
        """Have messages acknowledged: on disk when this returns."""
        extra = encode_extra(Extra(deliver_at=deliver_at))
        self.store.ingress.append(
            [
                b"%b|%b" % (topic_id.encode(), with_extra(encoded(message), extra))
                for message in (Message(message_id, content) for message_id in message_ids)
            ],
            durable=True,
        )

    def route(self, max_messages: int = ALL) -> None:
        """Move a batch to the partitions."""
        batch = self.store.ingress.read(max_messages, ALL)
        payloads: dict[tuple[str, int], list[bytes]] = {}
        for line in batch.lines:
            _, _, topic, payload = line.split(b"|", 3)
            topic_id = topic.decode()
            if decode_extra(extra_of(payload)).is_delayed:
                self.store.delayed.append([b"%b|%b" % (topic, payload)])
                continue
            partitions = len(self.store.topics[topic_id].partitions)
            partition = topic_id, partition_for(keys_of([payload])[0], partitions)
            payloads.setdefault(partition, []).append(payload)
        for partition, bodies in payloads.items():
            self.queue(*partition).append(bodies, durable=False)
        self.store.ingress.commit(batch.end_offset)

    def checkpoint(self) -> None:
        """Sync the partitions, say so, and release what the ingress log need not keep."""
        store = self.store
        for queue in self.queues().values():
            queue.log.sync()
        store.delayed.log.sync()
        partitions = {partition_key(*key): queue.offsets for key, queue in self.queues().items()}
        partitions[KEY] = store.delayed.offsets
        offsets = store.ingress.offsets
        store.checkpoints.write(offsets, partitions)
        store.ingress.log.release(offsets.read)

    def commit(self, topic_id: str, partition_id: int, offset: int) -> None:
        """Move a partition's readOffset, durably."""
        queue = self.queue(topic_id, partition_id)
        journal = self.store.topics[topic_id].journal
        journal.record({partition_key(topic_id, partition_id): queue.offsets.committed(offset)})
        queue.commit(offset)

    def retain(self, topic_id: str, partition_id: int) -> None:
        """Delete what retention lets go; behind a checkpoint only."""
        queue = self.queue(topic_id, partition_id)
        through = queue.expired_through(
            self.store.topics[topic_id].retention, self.clock.now_ms, queue.offsets.log_end
        )
        queue.log.release(through)

    def assign(self, *assignments: Assignment) -> None:
        self.store.assignment_log.write(assignments)

    def stop(self) -> None:
        """Stop cleanly."""
        self.route()
        self.checkpoint()
        self.store.close()

    def messages(self, topic_id: str, partition_id: int) -> dict[int, str]:
        """Return the messageIds that a partition's log has, by offset."""
        return messages_of(self.queue(topic_id, partition_id).log)

    def message_ids(self, topic_id: str) -> list[str]:
        """Return the messageIds of all partitions of a topic, sorted."""
        partitions = range(len(self.store.topics[topic_id].partitions))
        return sorted(
            id_ for number in partitions for id_ in self.messages(topic_id, number).values()
        )

    def told(self) -> list[str]:
        """Return what the start found, as it says it."""
        return [str(finding) for finding in self.store.findings]


def messages_of(log: Log) -> dict[int, str]:
    """Return the messageIds of a partition's log by the offset that the log gives each."""
    found: dict[int, str] = {}
    offset = 1
    while blocks := log.read(offset, ALL):
        for block in blocks:
            if isinstance(block, Block):
                records = map(decode_record, block.lines())
                found |= {record.offset: record.message_id for record in records}
            offset = block.last + 1
    return found
