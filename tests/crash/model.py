"""The state machine of the broker, once more through its HTTP API.

`HttpBroker` stands where the machine of `tests.actors.test_system_properties` has a `System`: what
that asks becomes a request to the WSGI application, and the answer, checked against the contract,
becomes a value or an error again. All actors run in one thread, so a failure shrinks and replays.
"""

import argparse
import io
import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from wsgiref.util import setup_testing_defaults

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from pandaq.actors.crew import Crew
from pandaq.actors.messages import QueueDescription
from pandaq.actors.system import Description, System, TopicDescription
from pandaq.batch import Batch
from pandaq.errors import (
    InvalidOffset,
    NoPartitionAvailable,
    NotAssigned,
    StorageFailed,
    StorageFull,
)
from pandaq.message import Message
from pandaq.offsets import Offsets
from pandaq.web.app import App
from tests.actors.stage import Clock
from tests.actors.test_system_properties import BrokerMachine, Partition
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

BROKER: Final = "broker_1"
REFUSALS: Final[dict[tuple[int, str], Exception]] = {
    (400, "INVALID_OFFSET"): InvalidOffset(0, 0, 0),
    (409, "NO_PARTITION_AVAILABLE"): NoPartitionAvailable("", 1),
    (409, "NOT_ASSIGNED"): NotAssigned("", 0, ""),
    (503, "STORAGE_FAILED"): StorageFailed("", ""),
    (507, "STORAGE_FULL"): StorageFull(""),
}
"""The refusals that the machine expects at some moments; any other fails it."""
GOOD: Final = {"messageId": "good", "content": 1}
ODD_IDS: Final = ["a|b\nc", "\u2028é\U0001f600", " ", "0", '"\\']
WRONG: Final[list[tuple[str, str, Any, tuple[int, str]]]] = [
    ("POST", "/ingress/orders", {"message": {"messageId": "m"}}, (400, "INVALID_REQUEST")),
    ("POST", "/ingress/orders", {"message": {"content": 1}}, (400, "INVALID_REQUEST")),
    ("POST", "/ingress/orders", {"messages": [GOOD, {"content": 1}]}, (400, "INVALID_REQUEST")),
    ("POST", "/ingress/orders", {"messages": []}, (400, "INVALID_REQUEST")),
    ("POST", "/ingress/orders", [GOOD], (400, "INVALID_REQUEST")),
    ("POST", "/ingress/nothing", {"message": GOOD}, (404, "TOPIC_NOT_FOUND")),
    ("POST", "/ingress/orders", {"brokerId": "x", "message": GOOD}, (404, "BROKER_NOT_FOUND")),
    ("POST", "/register/orders", {"consumerId": "a|b"}, (400, "INVALID_REQUEST")),
    ("POST", "/register/nothing", {"consumerId": "ann"}, (404, "TOPIC_NOT_FOUND")),
    ("GET", "/consume/broker_1/orders/7", None, (404, "PARTITION_NOT_FOUND")),
    ("GET", "/consume/other/orders/0", None, (404, "BROKER_NOT_FOUND")),
    ("GET", "/consume/broker_1/orders/0?max=x&b=t", None, (400, "INVALID_REQUEST")),
    ("PUT", "/commit", None, (405, "METHOD_NOT_ALLOWED")),
    ("GET", "/nowhere", None, (404, "NOT_FOUND")),
]
"""Requests that are refused, whatever the broker's state, and change nothing."""

counts: Counter[str] = Counter()
"""What all machines together have done."""


class HttpBroker:
    """A broker that is asked over HTTP, with the methods of a `System` that the machine uses."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._app = App(system)
        self._sent: dict[str, Any] = {}

    @property
    def _crew(self) -> Crew | None:
        return self._system._crew

    def start(self) -> None:
        self._system.start()

    def stop(self) -> None:
        self._system.stop()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Return the status and the envelope, which is checked to be one of the contract's two."""
        counts[f"{method} {path.split('/')[1].split('?', maxsplit=1)[0]}"] += 1
        path, _, query = path.partition("?")
        data = b"" if body is None else json.dumps(body).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json" if data else "",
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
        }
        setup_testing_defaults(environ)
        answered: list[str] = []
        parts = self._app(environ, lambda status, _headers, _error=None: answered.append(status))
        envelope = json.loads(b"".join(parts))
        status = int(answered[-1].split()[0])
        if status == 200:
            assert list(envelope) == ["success", "data"]
            assert envelope["success"] is True
        else:
            assert list(envelope) == ["success", "errorCode", "error"]
            assert envelope["success"] is False
            assert len(envelope["error"].split()) > 2
        return status, envelope

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the data of a success; raise a refusal that may be expected."""
        status, envelope = self.call(method, path, body)
        if status == 200:
            return envelope["data"]
        raise REFUSALS[status, envelope["errorCode"]]

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        sent = [{"messageId": each.message_id, "content": _value(each)} for each in messages]
        self._sent |= {each["messageId"]: each["content"] for each in sent}
        if len(sent) == 1:
            data = self.ask("POST", f"/ingress/{topic}", {"message": sent[0]})
            assert data["messageId"] == sent[0]["messageId"]
        else:
            data = self.ask("POST", f"/ingress/{topic}", {"messages": sent})
            assert data["count"] == len(sent)
        assert data["topicId"] == topic

    def register(self, topic: str, consumer: str) -> int:
        data = self.ask("POST", f"/register/{topic}", {"consumerId": consumer})
        assert (data["topicId"], data["consumerId"]) == (topic, consumer)
        number: int = data["partitionId"]
        return number

    def read(self, topic: str, number: int, most: int) -> Batch:
        data = self.ask("GET", f"/consume/{BROKER}/{topic}/{number}?b=t&max={most}")
        messages = data["messages"]
        assert data["count"] == len(messages)
        offsets = [each["offset"] for each in messages]
        assert data["endOffset"] == max(offsets, default=data["startOffset"])
        self._check_single(topic, number, messages[:1], data["startOffset"])
        for each in messages:
            assert each["topicId"] == topic
            if each["messageId"] in self._sent:  # Else it was sent before a restart.
                assert each["content"] == self._sent[each["messageId"]]
        lines = [
            f"{topic}|{number}|{each['offset']}|{each['messageId']}|1".encode() for each in messages
        ]
        return Batch(data["startOffset"], data["endOffset"], lines)

    def commit(self, topic: str, number: int, consumer: str, offset: int) -> Offsets:
        body = {"topicId": topic, "partitionId": number, "consumerId": consumer, "offset": offset}
        data = self.ask("POST", "/commit", body)
        assert data["committed"] is True
        return Offsets(data["logEndOffset"], data["newReadOffset"])

    def describe(self) -> Description:
        data = self.ask("GET", "/stats")
        assert data["topicCount"] == len(data["topics"])
        topics = [
            TopicDescription(
                topic["topicId"],
                [_queue(each) for each in topic["partitions"]],
                {
                    each["partitionId"]: each["consumerId"]
                    for each in topic["partitions"]
                    if each["consumerId"] is not None
                },
            )
            for topic in data["topics"]
        ]
        return Description(topics, _queue(data["ingressBuffer"]))

    def _check_single(
        self, topic: str, number: int, first: list[dict[str, Any]], start: int
    ) -> None:
        """See that a consume without `b` gives the first message of the batch."""
        data = self.ask("GET", f"/consume/{BROKER}/{topic}/{number}")
        assert data["messages"] == (first[0] if first else None)
        assert (data["count"], data["startOffset"]) == (len(first), start)


class HttpMachine(BrokerMachine):
    """The machine, asking over HTTP; beside it, what only HTTP can get wrong."""

    system: Any

    def start(self, disk: SimulatedDisk) -> None:
        counts["starts"] += 1
        self.disk = disk
        system = System(self.config, disk=disk, clock=Clock(), spawn=spawn_inline)
        self.system = HttpBroker(system)
        self.system.start()
        self.decide_doubts()
        assert self.describe_ends() == {key: len(log) for key, log in self.logs.items()}

    @rule(wrong=st.sampled_from(WRONG))
    def ask_wrongly(self, wrong: tuple[str, str, Any, tuple[int, str]]) -> None:
        method, path, body, expected = wrong
        status, envelope = self.system.call(method, path, body)
        assert (status, envelope["errorCode"]) == expected

    @precondition(lambda self: not (self.is_full or self.is_failing))
    @rule(
        message_id=st.sampled_from(ODD_IDS) | st.text(st.characters(codec="utf-8"), min_size=1),
        content=st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
    def produce_anything_and_take_it_back(self, message_id: str, content: Any) -> None:
        """To the topic of one partition, whose messages are all read and committed behind it."""
        if len(message_id.encode()) > 512:
            return
        body = {"message": {"messageId": message_id, "content": content}}
        self.system.ask("POST", "/ingress/events", body)
        self.logs["events", 0].append(message_id)
        self.cycle_until_idle()
        partition: Partition = ("events", 0)
        holder = self.consumers.setdefault(partition, "ann")
        end = len(self.logs[partition])
        data = self.system.ask("GET", f"/consume/{BROKER}/events/0?b=t&max=1000000")
        last = data["messages"][-1]
        assert (last["messageId"], last["content"], last["offset"]) == (message_id, content, end)
        assert self.system.commit(*partition, holder, end) == Offsets(end, end)
        self.read[partition] = end

    @invariant()
    def health_tells_the_truth(self) -> None:
        status, envelope = self.system.call("GET", "/health")
        if not (self.is_full or self.is_failing):
            assert status == 200, envelope
        assert status in (200, 503)

    @rule()
    def kill(self) -> None:
        counts["kills"] += 1
        super().kill()

    @rule(seed=st.integers(0, 1_000), in_order=st.booleans())
    def crash(self, seed: int, *, in_order: bool) -> None:
        counts["crashes"] += 1
        super().crash(seed, in_order=in_order)


def _value(each: Message) -> Any:
    return json.loads(each.content)


def _queue(data: dict[str, Any]) -> QueueDescription:
    offsets = Offsets(data["logEndOffset"], data["readOffset"])
    assert data.get("pendingMessages", offsets.pending) == offsets.pending
    assert 0 <= data["bufferSize"] <= offsets.pending
    return QueueDescription(offsets, data["bufferSize"], None)


def run(examples: int, steps: int = 30) -> None:
    """Run so many machines; raises what the shrunk one raises."""
    run_state_machine_as_test(
        HttpMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=500)
    options = parser.parse_args(arguments)
    # What a start puts right is logged, and here every start has something.
    logging.getLogger("pandaq").setLevel(logging.CRITICAL)
    hypothesis.seed(options.seed)(run)(options.examples)
    done = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(
        f"seed {options.seed}: {options.examples} examples ({done}); "
        "lost 0, duplicated 0, reordered 0, commits lowered 0"
    )
    return 0
