"""The catalog: a topic is known to all before anybody hears that it is there."""

from typing import Any

import pytest

from pandaq.actors.catalog import Catalog
from pandaq.actors.messages import AddTopic, OpenTopic
from pandaq.errors import OutcomeUnknown, StorageFull
from tests.actors.stage import FakeRef

MADE = AddTopic("orders.dlq", FakeRef(), FakeRef(), [FakeRef()])


def fail(_message: Any) -> None:
    raise OutcomeUnknown(5)


def test_a_topic_that_is_new_is_told_to_the_registry_and_the_broker() -> None:
    registry, broker = FakeRef(), FakeRef()
    catalog = Catalog(lambda _: MADE, registry, broker, 5)
    catalog.on_receive(OpenTopic("orders.dlq"))
    assert registry.asked == broker.asked == [MADE]


def test_one_that_is_there_is_told_to_nobody() -> None:
    registry, broker = FakeRef(), FakeRef()
    Catalog(lambda _: None, registry, broker, 5).on_receive(OpenTopic("orders.dlq"))
    assert registry.asked == broker.asked == []


def test_one_that_not_all_have_heard_of_is_told_again_before_anything_else() -> None:
    made = [MADE, None]
    registry, broker = FakeRef(), FakeRef(fail)
    catalog = Catalog(lambda _: made.pop(0), registry, broker, 5)
    with pytest.raises(OutcomeUnknown):
        catalog.on_receive(OpenTopic("orders.dlq"))
    broker.answer = lambda _: None
    catalog.on_receive(OpenTopic("orders.dlq"))
    assert registry.asked == [MADE, MADE]
    assert broker.asked == [MADE, MADE]


def test_one_that_cannot_be_made_is_told_to_who_asked_and_to_nobody_else() -> None:
    def make(_topic_id: str) -> AddTopic:
        raise StorageFull("config.log")

    registry = FakeRef()
    with pytest.raises(StorageFull):
        Catalog(make, registry, FakeRef(), 5).on_receive(OpenTopic("orders.dlq"))
    assert registry.asked == []
