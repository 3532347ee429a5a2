"""The values that travel."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.batch import Batch
from pandaq.message import Message, Record

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


@given(JSON_VALUES)
def test_a_message_of_a_value_has_its_json_text(value: Any) -> None:
    message = Message.of("msg-001", value)
    assert message.message_id == "msg-001"
    assert json.loads(message.content.decode()) == value


def test_a_number_may_be_a_message_id() -> None:
    assert Message.of(7, None) == Message("7", b"null")


def test_what_has_no_form_in_json_makes_no_message() -> None:
    with pytest.raises(TypeError):
        Message.of("msg-001", object())


@given(JSON_VALUES)
def test_a_record_tells_its_value(value: Any) -> None:
    record = Record("orders", 0, 1, "msg-001", json.dumps(value).encode())
    assert record.value == value


def test_messages_records_and_batches_cannot_be_changed() -> None:
    batch = Batch(0, 1, [b"line"])
    for value in (Message("m", b"1"), Record("orders", 0, 1, "m", b"1")):
        for name in ("message_id", "content"):
            with pytest.raises(AttributeError):
                setattr(value, name, None)
    for name in ("start_offset", "end_offset", "lines"):
        with pytest.raises(AttributeError):
            setattr(batch, name, None)


def test_a_batch_counts_its_lines() -> None:
    assert Batch(4, 4, []).count == 0
    assert Batch(4, 7, [b"a", b"b"]).count == 2
