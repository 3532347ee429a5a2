"""The JSON of requests and answers."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq_sdk.envelope import decode, encode
from pandaq_sdk.errors import BrokerError, NotEncodable, PandaqSdkError, UnexpectedAnswer

CALL = "GET http://broker/stats"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Every character but the surrogates, which no UTF-8 has.
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_what_is_encoded_reads_back_the_same(value: Any) -> None:
    read = json.loads(encode(value, "it"))
    assert (read, type(read)) == (value, type(value))


def circle() -> list[Any]:
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    return round_and_round


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"bytes", "\ud800", {1, 2}, {("a", 1): 2}, circle(), object()],
    ids=str,
)
def test_what_json_has_no_form_for_is_refused_by_name(value: Any) -> None:
    with pytest.raises(NotEncodable, match=r"^messages\[3\] cannot be written as JSON \(.+\)"):
        encode({"content": value}, "messages[3]")


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(NotEncodable, match="nested too deeply"):
        encode(deep(), "message")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Bad Gateway</html>",
        b"",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"{}",
        b'{"success": true}',
        b'{"success": true, "data": [1]}',
        b'{"success": 1, "data": {}}',
        b'{"success": false}',
        b'{"success": false, "errorCode": 7}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_an_answer_of_another_shape_is_unexpected_and_quoted(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        decode(CALL, 200, body)
    assert caught.value.status == 200
    quoted = "empty" if not body else body[:4].decode("utf-8", "replace")
    assert CALL in str(caught.value)
    assert quoted in str(caught.value)
    assert len(str(caught.value)) < 500


def test_success_with_the_status_of_a_failure_is_unexpected() -> None:
    with pytest.raises(UnexpectedAnswer):
        decode(CALL, 502, b'{"success": true, "data": {}}')


def test_a_refusal_without_a_sentence_is_still_a_refusal() -> None:
    with pytest.raises(BrokerError, match="the broker refused"):
        decode(CALL, 400, b'{"success": false, "errorCode": "INVALID_REQUEST"}')


@given(st.integers(100, 599), st.binary() | json_values.map(lambda value: encode(value, "it")))
def test_whatever_is_answered_gives_data_or_an_error_of_ours(status: int, body: bytes) -> None:
    with suppress(PandaqSdkError):
        assert decode(CALL, status, body).status == 200


@pytest.mark.parametrize("value", [None, True, 1.0, "1", [1]])
def test_a_field_that_should_be_an_integer_and_is_none_is_unexpected(value: Any) -> None:
    answer = decode(CALL, 200, encode({"success": True, "data": {"offset": value}}, "it"))
    with pytest.raises(UnexpectedAnswer, match="the field offset should be an integer"):
        answer.integer("offset")


def test_a_missing_field_is_unexpected_and_named() -> None:
    answer = decode(CALL, 200, b'{"success": true, "data": {"other": null}}')
    with pytest.raises(UnexpectedAnswer, match="the field content is missing"):
        answer.value("content")
    assert answer.value("other") is None


def test_a_list_with_something_else_than_objects_is_unexpected() -> None:
    answer = decode(CALL, 200, b'{"success": true, "data": {"messages": [{}, 1]}}')
    with pytest.raises(UnexpectedAnswer, match="the field messages should be objects"):
        answer.objects("messages")
