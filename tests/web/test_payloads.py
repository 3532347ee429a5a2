import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq import errors
from pandaq.batch import Batch
from pandaq.errors import InvalidRequest, PandaqError
from pandaq.message import Message
from pandaq.records import LineFormat
from pandaq.web.payloads import (
    STATUS,
    AppendBody,
    CommitBody,
    MessageBody,
    RegisterBody,
    batch_json,
    check_topic_ids,
    decode,
    failure,
    partition_number,
    success,
    timestamp,
)
from tests.messages import encoded

APPEND = msgspec.json.Decoder(AppendBody)
COMMIT = msgspec.json.Decoder(CommitBody)
REGISTER = msgspec.json.Decoder(RegisterBody)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def message(content: bytes, message_id: bytes = b'"m-1"') -> Message:
    """Return the message of a body with this JSON as its content."""
    body = b'{"message":{"messageId":%b,"content":%b}}' % (message_id, content)
    decoded = decode(body, APPEND).message
    assert isinstance(decoded, MessageBody)
    return Message(str(decoded.message_id), bytes(decoded.content))


def refused(body: bytes, decoder: msgspec.json.Decoder[Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, decoder)
    return str(caught.value)


def line(content: bytes, message_id: str = "m-1", offset: int = 7) -> bytes:
    return b"orders|0|%d|%b" % (offset, encoded(Message(message_id, content)))


class TestContent:
    @pytest.mark.parametrize("text", [b"null", b"false", b"0", b'""', b"[]", b"{}", b"1.0", b"1E2"])
    def test_every_kind_of_value_is_content_and_stays_the_text_it_was(self, text: bytes) -> None:
        assert message(text).content == text

    def test_its_spelling_is_kept(self) -> None:
        text = b'{ "b" : 1.50, "a": [ 1e2 ],\t"b":"\\u00e9\\/" }'
        assert message(text).content == text

    def test_its_absence_is_an_error_that_names_it(self) -> None:
        body = b'{"message":{"messageId":"a"}}'
        assert refused(body, APPEND) == "message.content is missing"

    @given(VALUES)
    def test_what_is_taken_makes_a_whole_line_and_comes_back_equal(self, value: Any) -> None:
        text = json.dumps(value).encode()
        assert json.loads(message(text).content) == value
        (written,) = LineFormat.partition("orders", 0).encode(1, [encoded(message(text))])
        assert LineFormat.partition("orders", 0).offset_of(written[:-1]) == 1
        answer = json.loads(b"".join(batch_json(Batch(0, 1, [written[:-1]]), single=True)))
        assert answer["messages"]["content"] == value

    @given(st.text(max_size=40) | st.text('[{1,":\\ue+-.', max_size=40))
    def test_all_text_that_is_taken_makes_a_line_that_is_read_again(self, text: str) -> None:
        try:
            taken = message(text.encode("utf-8", "surrogatepass"))
        except InvalidRequest:
            return
        (written,) = LineFormat.partition("orders", 0).encode(1, [encoded(taken)])
        assert LineFormat.partition("orders", 0).offset_of(written[:-1]) == 1
        json.loads(taken.content)

    @pytest.mark.parametrize(
        "text",
        [
            *(b'"\\ud800"', b'"\\udc00"', b'"\\ud800x"', b'"\\ud800\\u0041"', b'{"\\ud800":1}'),
            *(b"\xff", b'"\xed\xa0\x80"', b'"\xc3"', b'"\x00"', b'"a\nb"', b"NaN", b"Infinity"),
            *(
                b"01",
                b"1.",
                b".5",
                b"+1",
                b"'a'",
                b"nul",
                b"[1,]",
                b'{"a":1,}',
                b"{a:1}",
                b"[1",
                b"",
            ),
            *(b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000),
        ],
        ids=lambda text: repr(text[:20]),
    )
    def test_what_no_reader_would_take_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidRequest, match="the body is"):
            message(text)

    def test_a_pair_of_surrogates_and_an_infinite_number_are_json(self) -> None:
        assert json.loads(message(b'"\\ud83d\\ude00"').content) == "\N{GRINNING FACE}"
        assert json.loads(message(b"-1e999").content) == -math.inf


class TestIds:
    @pytest.mark.parametrize(
        "number", ["42", "-7", "0", "9007199254740993", "18446744073709551616"]
    )
    def test_an_integer_message_id_is_kept_as_its_text(self, number: str) -> None:
        assert message(b"1", number.encode()).message_id == number

    @pytest.mark.parametrize("wrong", [b"null", b"true", b"1.5", b"1.0", b"1e999", b"[]", b"{}"])
    def test_another_message_id_is_refused_by_its_name(self, wrong: bytes) -> None:
        with pytest.raises(InvalidRequest, match="messageId"):
            message(b"1", wrong)

    def test_a_topic_id_in_the_message_must_be_that_of_the_path(self) -> None:
        same = MessageBody(1, msgspec.Raw(b"1"), "orders")
        none = MessageBody(2, msgspec.Raw(b"1"))
        check_topic_ids([same, none], "orders")
        other = MessageBody("m", msgspec.Raw(b"1"), "events")
        with pytest.raises(InvalidRequest, match=r"topicId of message 'm' is 'events'.*'orders'"):
            check_topic_ids([same, other], "orders")

    def test_a_huge_topic_id_in_the_message_is_not_sent_back_whole(self) -> None:
        huge = MessageBody("m" * 100_000, msgspec.Raw(b"1"), "x" * 100_000)
        with pytest.raises(InvalidRequest) as caught:
            check_topic_ids([huge], "orders")
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        ("given", "number"), [(0, 0), ("0", 0), ("2", 2), ("002", 2), ("-1", -1), (10**30, 10**30)]
    )
    def test_a_partition_id_is_an_integer_or_its_text(self, given: int | str, number: int) -> None:
        assert partition_number(given) == number

    @pytest.mark.parametrize(
        "wrong", ["", "a", "1.0", " 1", "1\n", "+1", "0x1", "\u0663", "9" * 10]
    )
    def test_other_text_is_no_partition_id(self, wrong: str) -> None:
        with pytest.raises(InvalidRequest, match=r"partitionId is .* must be an integer"):
            partition_number(wrong)


class TestSentences:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"", "the body is empty; send a JSON object"),
            (b" \n", "the body is empty; send a JSON object"),
            (b"null", "the body must be an object, not null"),
            (b"[]", "the body must be an object, not array"),
            (b'{"message":null}', "message must be an object, not null"),
            (b'{"messages":{}}', "messages must be an array, not object"),
            (b'{"messages":[1]}', "messages[0] must be an object, not int"),
            (
                b'{"messages":[{"messageId":1,"content":1},{"messageId":2}]}',
                "messages[1].content is missing",
            ),
            (
                b'{"message":{"messageId":[],"content":1}}',
                "message.messageId must be a string or an integer, not array",
            ),
            (b'{"brokerId":5}', "brokerId must be a string, not int"),
        ],
    )
    def test_a_wrong_append_is_told_by_its_field(self, body: bytes, sentence: str) -> None:
        assert refused(body, APPEND) == sentence

    @pytest.mark.parametrize("field", ["topicId", "partitionId", "consumerId", "offset"])
    def test_a_missing_field_of_a_commit_is_told(self, field: str) -> None:
        body = {"topicId": "orders", "partitionId": 0, "consumerId": "c", "offset": 1}
        del body[field]
        assert refused(json.dumps(body).encode(), COMMIT) == f"{field} is missing"

    @pytest.mark.parametrize(
        "wrong", ["1.5", "1.0", "true", "null", '"1"', "[]", "1e999", "9" * 5000]
    )
    def test_a_wrong_offset_is_told(self, wrong: str) -> None:
        body = f'{{"topicId":"orders","partitionId":0,"consumerId":"c","offset":{wrong}}}'
        assert refused(body.encode(), COMMIT).startswith("offset ")

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"consumerId":"c"', "the body is not valid JSON: .*too early"),
            (b'{"consumerId":"c"} x', "the body is not valid JSON: trailing characters"),
            (b'{"consumerId":"\\ud800"}', "the body is not valid JSON: .*surrogate"),
            (b'{"consumerId":"\xff"}', "the body is not valid UTF-8 at byte 15"),
            (b'{"x":' + b"[" * 100_000, "the body is nested too deeply"),
        ],
    )
    def test_what_is_no_json_is_told(self, body: bytes, words: str) -> None:
        assert re.match(words, refused(body, REGISTER))

    @given(st.binary(max_size=200))
    def test_any_bytes_are_decoded_or_refused(self, body: bytes) -> None:
        decoders: list[msgspec.json.Decoder[Any]] = [APPEND, COMMIT, REGISTER]
        for decoder in decoders:
            try:
                decode(body, decoder)
            except InvalidRequest as error:
                assert str(error)  # noqa: PT017 (both ways are right)

    def test_unknown_fields_are_ignored(self) -> None:
        body = b'{"consumerId":"c","brokerId":null,"extra":[{"a":1}],"someday":7}'
        assert decode(body, REGISTER) == RegisterBody(consumer_id="c")


class TestAnswers:
    def test_a_success_wraps_its_data(self) -> None:
        assert json.loads(success({"a": 1})) == {"success": True, "data": {"a": 1}}
        assert success([b'{"a": ', b"1.0}"]) == b'{"success":true,"data":{"a": 1.0}}'

    def test_a_failure_has_its_code_and_its_sentence(self) -> None:
        expected = {"success": False, "errorCode": "NOT_FOUND", "error": 'no "such" \x00 é'}
        assert json.loads(failure("NOT_FOUND", 'no "such" \x00 é')) == expected

    def test_every_error_that_a_request_can_meet_has_its_status(self) -> None:
        def codes(kind: type[PandaqError]) -> set[str]:
            return {kind.code}.union(*map(codes, kind.__subclasses__()))

        assert STATUS.keys() == codes(errors.RequestError) | codes(errors.Unavailable) | {
            "INTERNAL_ERROR"
        }

    def test_a_batch_is_the_lines_own_text(self) -> None:
        lines = [line(b'{"a": 1.50}', offset=7), line(b'"x|y\nz"', "a|b\nc", 8)]
        answer = b"".join(batch_json(Batch(6, 8, lines), single=False))
        assert b'"content":{"a": 1.50}' in answer
        assert json.loads(answer.replace(rb"\u007cy z", rb"\u007cy\nz")) == {
            "messages": [
                {"topicId": "orders", "messageId": "m-1", "content": {"a": 1.5}, "offset": 7},
                {"topicId": "orders", "messageId": "a|b\nc", "content": "x|y\nz", "offset": 8},
            ],
            "count": 2,
            "startOffset": 6,
            "endOffset": 8,
        }

    def test_a_single_answer_has_an_object_or_null(self) -> None:
        one = json.loads(b"".join(batch_json(Batch(6, 7, [line(b"1")]), single=True)))
        assert one["messages"]["content"] == 1
        none = json.loads(b"".join(batch_json(Batch(6, 6, []), single=True)))
        assert none == {"messages": None, "count": 0, "startOffset": 6, "endOffset": 6}

    def test_what_a_later_version_adds_to_a_line_does_no_harm(self) -> None:
        extended = line(b"1") + b'|{"key":"k"}'
        assert json.loads(b"".join(batch_json(Batch(6, 7, [extended]), single=True)))["count"] == 1

    def test_a_timestamp_is_iso_8601_in_utc_with_milliseconds(self) -> None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp())
