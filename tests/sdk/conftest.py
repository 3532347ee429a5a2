"""A broker, and clients of it that never sleep and are closed in the end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pandaq_sdk import Consumer, Producer
from tests.sdk.fake_broker import FakeBroker


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    broker = FakeBroker()
    yield broker
    broker.stop()


@pytest.fixture
def sleeps() -> list[float]:
    """The seconds that clients would have slept."""
    return []


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def new_producer(
    broker: FakeBroker, sleeps: list[float], cleanup: ExitStack
) -> Callable[..., Producer]:
    def new(**options: object) -> Producer:
        chosen = {"sleep": sleeps.append, "jitter": lambda: 1.0} | options
        producer = Producer("broker_1", broker.url, "orders", **chosen)  # type: ignore[arg-type]
        cleanup.callback(producer.close)
        return producer

    return new


@pytest.fixture
def new_consumer(
    broker: FakeBroker, sleeps: list[float], cleanup: ExitStack
) -> Callable[..., Consumer]:
    def new(**options: object) -> Consumer:
        chosen = {"sleep": sleeps.append, "jitter": lambda: 1.0} | options
        consumer = Consumer(broker.url, "broker_1", "consumer-1", "orders", **chosen)  # type: ignore[arg-type]
        cleanup.callback(consumer._connection.close)  # without the commit of a close
        return consumer

    return new


@pytest.fixture
def producer(new_producer: Callable[..., Producer]) -> Producer:
    return new_producer()


@pytest.fixture
def consumer(new_consumer: Callable[..., Consumer]) -> Consumer:
    return new_consumer()
