"""What a broker promises those that share, come and go, refuse and delay, as plain data.

Nothing is in doubt here: every request is answered before the broker ends, so all that was answered
holds, and nothing else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pandaq.assignments import Assignments
from pandaq.config import Retry
from pandaq.routing import partition_for

Partition = tuple[str, int]

TOPICS: Final = {"orders": 2, "events": 1}
WINDOW_MS: Final = 1_000
"""The topic `events` remembers messageIds for so long."""


@dataclass(frozen=True)
class Entry:
    """A message; `due_ms` is when it is to be routed, `origin` where it stood at first."""

    message_id: str
    content: str
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    due_ms: int | None = None
    expires_ms: int | None = None
    group: str | None = None
    attempts: int = 0
    origin: Partition = ("", 0)

    def is_for(self, group: str, now_ms: int) -> bool:
        is_expired = self.expires_ms is not None and self.expires_ms <= now_ms
        return self.group in (None, group) and not is_expired

    def seen_as(self, topic: str, offset: int) -> dict[str, Any]:
        """Return how an answer has it, but for its timestamp."""
        shown: dict[str, Any] = {
            "topicId": topic,
            "messageId": self.message_id,
            "content": json.loads(self.content),
            "offset": offset,
        }
        if self.key is not None:
            shown["key"] = self.key
        if self.headers:
            shown["headers"] = dict(self.headers)
        if self.group is not None:
            shown["attempts"] = self.attempts
        return shown


class Group:
    """A group of a topic: how far it has read, and who is in it."""

    def __init__(self, topic: str, partitions: int, reads: Iterable[int]) -> None:
        self.reads = list(reads)
        self.assignments = Assignments(topic, partitions)
        self.heard_ms: dict[str, int] = {}

    def current(self, now_ms: int) -> Assignments:
        """Return the assignments without those whose leases have run out."""
        silent = {name: now_ms - heard for name, heard in self.heard_ms.items()}
        self.keep(self.assignments.left(self.assignments.lapsed(silent)), now_ms)
        return self.assignments

    def keep(self, after: Assignments, now_ms: int, heard: str | None = None) -> None:
        came = after.members.keys() - self.assignments.members.keys()
        self.heard_ms = {name: self.heard_ms.get(name, now_ms) for name in after.members}
        self.heard_ms |= dict.fromkeys(came, now_ms)
        if heard is not None and heard in after.members:
            self.heard_ms[heard] = now_ms
        self.assignments = after


class PlainGroups:
    """All logs, groups and delays."""

    def __init__(self) -> None:
        self.retry = Retry()
        self.logs: dict[Partition, list[Entry]] = {}
        self.unrouted: list[tuple[str, Entry]] = []
        self.delayed: list[tuple[str, Entry]] = []
        self.groups: dict[tuple[str, str], Group] = {}
        self.seen_ms: dict[str, tuple[int, int]] = {}
        """When a messageId came, as far as is known: earliest and latest."""
        for topic, partitions in TOPICS.items():
            self.add_topic(topic, partitions)

    def add_topic(self, topic: str, partitions: int) -> None:
        if (topic, "") not in self.groups:
            self.logs |= {(topic, number): [] for number in range(partitions)}
            self.groups[topic, ""] = Group(topic, partitions, [0] * partitions)

    def partitions(self, topic: str) -> list[Partition]:
        return [partition for partition in self.logs if partition[0] == topic]

    # -- producing

    def produce(self, topic: str, entries: Sequence[Entry], now_ms: int) -> list[str] | None:
        """Return which ids are duplicates; None where the broker may say so or not."""
        duplicates = []
        for entry in entries:
            if topic != "events":
                self.unrouted.append((topic, entry))
                continue
            known = self.seen_ms.get(entry.message_id)
            if known and now_ms - known[0] <= WINDOW_MS:
                duplicates.append(entry.message_id)
            elif known and now_ms - known[1] <= WINDOW_MS:
                return None
            else:
                self.seen_ms[entry.message_id] = now_ms, now_ms
                self.unrouted.append((topic, entry))
        return duplicates

    def route(self) -> None:
        """Move what was accepted to where it belongs."""
        unrouted, self.unrouted = self.unrouted, []
        for topic, entry in unrouted:
            if entry.due_ms is not None:
                self.delayed.append((topic, entry))
            else:
                self.append(topic, entry)

    def route_due(self, now_ms: int) -> None:
        due = [each for each in self.delayed if (each[1].due_ms or 0) <= now_ms]
        self.delayed = [each for each in self.delayed if each not in due]
        for topic, entry in sorted(due, key=lambda each: each[1].due_ms or 0):
            self.append(topic, replace(entry, due_ms=None))

    def append(self, topic: str, entry: Entry) -> None:
        partitions = self.partitions(topic)
        key = entry.message_id if entry.key is None else entry.key
        self.logs[partitions[partition_for(key.encode(), len(partitions))]].append(entry)

    # -- consuming

    def open_group(self, topic: str, group: str, start: str = "beginning") -> Group:
        if (topic, group) not in self.groups:
            partitions = self.partitions(topic)
            reads = [len(self.logs[each]) if start == "end" else 0 for each in partitions]
            self.groups[topic, group] = Group(topic, len(partitions), reads)
        return self.groups[topic, group]

    def read(self, partition: Partition, group: str) -> int:
        known = self.groups.get((partition[0], group))
        return known.reads[partition[1]] if known else 0

    def shown(
        self, partition: Partition, group: str, most: int, now_ms: int, behind: int | None = None
    ) -> tuple[list[dict[str, Any]], int, int]:
        """Return the messages of a consume, its startOffset and its endOffset."""
        start = self.read(partition, group) if behind is None else behind
        log = self.logs[partition]
        found = [
            entry.seen_as(partition[0], offset)
            for offset, entry in enumerate(log[start:], start + 1)
            if entry.is_for(group, now_ms)
        ][:most]
        return found, start, found[-1]["offset"] if found else len(log)

    def refuse(
        self, partition: Partition, group: str, offset: int, delay_ms: int | None, now_ms: int
    ) -> tuple[str, Entry]:
        """Take in the copy of a message that is refused; return where it goes."""
        topic, number = partition
        entry = self.logs[partition][offset - 1]
        attempts = entry.attempts + 1
        origin = entry.origin if entry.group is not None else (str(number), offset)
        if attempts >= self.retry.max_attempts:
            headers = dict(entry.headers) | {
                "dlq-topic": topic,
                "dlq-partition": origin[0],
                "dlq-offset": str(origin[1]),
                "dlq-group": group,
                "dlq-attempts": str(attempts),
                "dlq-reason": "why",
            }
            self.add_topic(f"{topic}.dlq", 1)
            dead = Entry(entry.message_id, entry.content, entry.key, headers)
            self.unrouted.append((f"{topic}.dlq", dead))
            return f"{topic}.dlq", dead
        delay_ms = self.retry.delay_after(attempts) if delay_ms is None else delay_ms
        copy = replace(
            entry,
            due_ms=now_ms + delay_ms if delay_ms else None,
            group=group,
            attempts=attempts,
            origin=origin,
        )
        self.unrouted.append((topic, copy))
        return topic, copy

    def redrive(self, topic: str) -> int:
        """Move dead letters back; return how many."""
        if (f"{topic}.dlq", "") not in self.groups:
            return 0
        group, dead = self.groups[f"{topic}.dlq", ""], self.logs[f"{topic}.dlq", 0]
        letters = dead[group.reads[0] :]
        for letter in letters:
            said = letter.headers
            headers = {key: value for key, value in said.items() if not key.startswith("dlq-")}
            origin = said["dlq-partition"], int(said["dlq-offset"])
            back = Entry(
                letter.message_id,
                letter.content,
                letter.key,
                headers,
                group=said["dlq-group"],
                origin=origin,
            )
            self.unrouted.append((topic, back))
        group.reads[0] = len(dead)
        return len(letters)

    # -- ends

    def restart(self, mono_ms: int, now_ms: int, *, is_crash: bool) -> None:
        """All is routed; every lease is whole again; the index may not know times any more."""
        self.route()
        for group in self.groups.values():
            group.heard_ms = dict.fromkeys(group.assignments.members, mono_ms)
        if is_crash:
            self.seen_ms = {key: (first, now_ms) for key, (first, _) in self.seen_ms.items()}
