"""One record <-> one line."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pandaq.message import Message, Record
from pandaq.records import LineFormat, decode_record, is_json, keys_of
from tests.messages import encoded

PARTITION = LineFormat.partition("orders", 3)
INGRESS = LineFormat.ingress("broker_1")
OFFSETS = st.integers(1, 10**19 - 1)

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
TEXTS = st.text() | st.text('ab|\\"\n\r\t\0/u007cü\u2028\U0001f43c')


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """Valid JSON text as any producer may write it: with any spaces, line breaks and escapes."""
    separators = draw(st.sampled_from([(",", ":"), (" ,\r\n", " : "), ("\n,\t", "\r:")]))
    text = json.dumps(
        draw(JSON_VALUES),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.none() | st.integers(0, 3)),
        separators=separators,
    )
    spaces = st.text(" \t\r\n", max_size=3)
    return (draw(spaces) + text + draw(spaces)).encode()


MESSAGES = st.builds(Message, TEXTS, json_texts())


def line_of(message: Message, offset: int = 1) -> bytes:
    (line,) = PARTITION.encode(offset, [encoded(message)])
    return line.removesuffix(b"\n")


def parsed(text: bytes) -> Any:
    """Parse JSON by another parser, as strictly as the standard has it. Raises `ValueError`."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    value = json.loads(text.decode(), object_pairs_hook=list, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    return value


def is_whole(line: bytes, head: re.Pattern[bytes]) -> bool:
    """Tell by other means whether a line is one that could have been written."""
    match = head.fullmatch(line)
    if not match:
        return False
    try:
        message_id, _, *extra = [
            parsed(b'"' + field + b'"' if number == 0 else field)
            for number, field in enumerate(match["payload"].split(b"|"))
        ]
    except ValueError:
        return False
    is_text = isinstance(message_id, str)
    return is_text and (not extra or match["payload"].split(b"|")[2].startswith(b"{"))


PAYLOAD = rb"(?P<offset>[1-9][0-9]{0,18})\|%b(?P<payload>[^|\n]*\|[^|\n]*(\|[^|\n]*)?)"
PARTITION_LINE = re.compile(rb"orders\|3\|" + PAYLOAD % b"")
INGRESS_LINE = re.compile(rb"[A-Za-z0-9._-]+\|" + PAYLOAD % rb"[A-Za-z0-9._-]+\|")


def check_offset_of(line_format: LineFormat, line: bytes) -> None:
    head = INGRESS_LINE if line_format.any_owner else PARTITION_LINE
    offset = line_format.offset_of(line)
    if is_whole(line, head):
        match = head.fullmatch(line)
        assert match
        assert offset == int(match["offset"])
    else:
        assert offset is None


class TestRoundTrip:
    @pytest.mark.parametrize(
        "content",
        [
            *(b"null", b"true", b"false", b"0", b"-0.5e+3", b'""', b"[]", b"{}"),
            *(b'"x|y"', b'"\\u007c"', b'"a\\nb"', b'["|","||"]', b'{"a|b":"|"}'),
            *('"ü 🐼 \u2028"'.encode(), b'"\\ud83d\\udc3c"', b'"\\u0000"', b'"\x7f"'),
            *(b"9" * 400, b"1e999", b'{"a":1,"a":2}', b"[" * 99 + b"]" * 99),
        ],
    )
    def test_every_kind_of_json_comes_back(self, content: bytes) -> None:
        record = decode_record(line_of(Message("m", content)))
        assert parsed(record.content) == parsed(content)

    def test_nothing_is_encoded_anew(self) -> None:
        content = b'{"b": 1.0, "a" :[1E2,"\\u00fc\\/"]}'
        assert decode_record(line_of(Message("m", content))).content == content

    def test_a_bar_in_the_content_is_written_as_its_escape(self) -> None:
        assert line_of(Message("m", b'["a|b","|"]')) == rb'orders|3|1|m|["a\u007cb","\u007c"]'

    def test_line_breaks_between_tokens_become_spaces(self) -> None:
        assert line_of(Message("m", b'[\r\n1,\n"\\n"]\n')) == rb'orders|3|1|m|[  1, "\n"] '

    def test_a_message_id_may_have_bars_and_line_breaks(self) -> None:
        message = Message("a|b\nc", b"1")
        assert line_of(message) == rb"orders|3|1|a\u007cb\nc|1"
        assert decode_record(line_of(message)) == Record("orders", 3, 1, "a|b\nc", b"1")
        assert keys_of([encoded(message)])[0] == b"a|b\nc"

    @given(MESSAGES, OFFSETS)
    @example(Message("", b"0"), 1)
    @example(Message("\\u007c", b'"\\\\u007c"'), 1)
    def test_whatever_goes_in_the_line_parts_at_its_bars(
        self, message: Message, offset: int
    ) -> None:
        line = line_of(message, offset)
        owner, partition_id, number, _, _ = line.split(b"|")
        assert (owner, partition_id, number) == (b"orders", b"3", b"%d" % offset)
        assert b"\n" not in line
        assert b"\r" not in line

    @given(MESSAGES, OFFSETS)
    def test_whatever_goes_in_comes_out_equal(self, message: Message, offset: int) -> None:
        record = decode_record(line_of(message, offset))
        assert (record.topic_id, record.partition_id) == ("orders", 3)
        assert record.offset == offset
        assert record.message_id == message.message_id
        assert parsed(record.content) == parsed(message.content)

    @given(MESSAGES)
    def test_encoding_again_what_came_out_changes_nothing(self, message: Message) -> None:
        record = decode_record(line_of(message))
        assert line_of(Message(record.message_id, record.content)) == line_of(message)

    @given(MESSAGES, st.dictionaries(st.text(), st.text() | st.integers(), max_size=3))
    def test_a_sixth_field_changes_nothing_of_the_five(
        self, message: Message, extra: dict[str, Any]
    ) -> None:
        line = line_of(message)
        more = json.dumps(extra).replace("|", "\\u007c").encode()
        assert decode_record(line + b"|" + more) == decode_record(line)
        assert PARTITION.offset_of(line + b"|" + more) == 1


class TestKey:
    @given(TEXTS, json_texts())
    def test_it_is_the_message_id_as_it_was_sent(self, message_id: str, content: bytes) -> None:
        assert keys_of([encoded(Message(message_id, content))])[0] == message_id.encode()

    def test_escapes_written_otherwise_make_no_other_key(self) -> None:
        assert keys_of([rb"\u0061\/\u00FC|1"])[0] == "a/ü".encode()


class TestJson:
    @pytest.mark.parametrize(
        "text",
        [
            *(b"", b" ", b"nul", b"NaN", b"Infinity", b"01", b"+1", b"1.", b".5", b"-", b"1 2"),
            *(b'"', b'"\\x"', b'"\\u12"', b'"a\x01"', b'"a\nb"', b"'a'", b"[1,]", b"{a:1}", b"["),
            *(b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud800":1}', b'"\xff"', b'"\xed\xa0\x80"'),
            *(b"\xef\xbb\xbf1", b"\0", b"1\0", b"\x0b1", b"[" * 100_000),
        ],
    )
    def test_what_is_not_json_is_told(self, text: bytes) -> None:
        assert not is_json(text)

    @given(json_texts())
    def test_what_is_json_is_told(self, text: bytes) -> None:
        assert is_json(text)

    @given(json_texts(), st.data())
    def test_another_parser_agrees_on_what_was_json_before_a_byte_changed(
        self, text: bytes, data: st.DataObject
    ) -> None:
        position = data.draw(st.integers(0, len(text) - 1))
        changed = bytearray(text)
        changed[position] = data.draw(st.integers(0, 255))
        try:
            parsed(bytes(changed))
        except ValueError:
            assert not is_json(bytes(changed))
        else:
            assert is_json(bytes(changed))


class TestLineFormat:
    def test_lines_of_a_partition_begin_with_topic_and_partition(self) -> None:
        lines = LineFormat.partition("orders", 0).encode(7, [b"a|1", b"b|2"])
        assert lines == [b"orders|0|7|a|1\n", b"orders|0|8|b|2\n"]

    def test_lines_of_the_ingress_log_begin_with_the_broker(self) -> None:
        lines = INGRESS.encode(7, [b"orders|a|1", b"orders|b|2"])
        assert lines == [b"broker_1|7|orders|a|1\n", b"broker_1|8|orders|b|2\n"]

    def test_no_bodies_make_no_lines(self) -> None:
        assert PARTITION.encode(7, []) == []

    @given(MESSAGES, OFFSETS)
    def test_a_written_line_tells_its_offset(self, message: Message, offset: int) -> None:
        payload = encoded(message)
        (ingress,) = INGRESS.encode(offset, [b"orders|" + payload])
        assert INGRESS.offset_of(ingress[:-1]) == offset
        assert PARTITION.offset_of(line_of(message, offset)) == offset

    def test_a_partition_knows_only_lines_of_its_own(self) -> None:
        for line in (b"orders|1|1|m|1", b"order|3|1|m|1", b"orders|33|1|m|1", b"xorders|3|1|m|1"):
            assert PARTITION.offset_of(line) is None

    def test_the_ingress_log_knows_lines_of_a_broker_that_was_named_otherwise(self) -> None:
        assert INGRESS.offset_of(b"old_name|4|orders|m|1") == 4

    @pytest.mark.parametrize(
        "line",
        [
            *(b"", b"|", b"||||", b"orders|3", b"orders|3|", b"orders|3|1", b"orders|3|1|m"),
            *(b"orders|3|0|m|1", b"orders|3|01|m|1", b"orders|3|-1|m|1", b"orders|3|+1|m|1"),
            *(b"orders|3||m|1", b"orders|3| 1|m|1", b"orders|3|1_0|m|1", b"orders|3|1.0|m|1"),
            *("orders|3|\u0663|m|1".encode(), b"orders|3|1|m|", b"orders|3|1|m|x"),
            *(b'orders|3|1|m"|1', b"orders|3|1|m\\|1", b"orders|3|1|\xff|1", b"orders|3|1|m|1|"),
            *(b"orders|3|1|m|1|{}|{}", b"orders|3|1|m|1|[]", b"orders|3|1|m|12|34"),
            *(b"orders|3|1|m|1\0", b"\0" * 20, b"orders|3|1|a\tb|1"),
        ],
    )
    def test_a_line_that_breaks_a_rule_is_refused(self, line: bytes) -> None:
        assert PARTITION.offset_of(line) is None

    @pytest.mark.parametrize("digits", [20, 4301, 100_000])
    def test_an_offset_that_no_index_could_hold_is_refused(self, digits: int) -> None:
        assert PARTITION.offset_of(b"orders|3|" + b"9" * digits + b"|m|1") is None

    @pytest.mark.parametrize(
        "line",
        [
            *(b"|1|orders|m|1", b"broker_1|1||m|1", b"broker_1|1|orders|m", b"broker_1|1|m"),
            *(b"broker 1|1|orders|m|1", b"broker_1|1|ord\0\0s|m|1"),
            *(b"broker\xff|1|orders|m|1", b"broker_1|1|ord\xffers|m|1", b"broker_1||orders|m|1"),
        ],
    )
    def test_a_line_of_the_ingress_log_that_breaks_a_rule_is_refused(self, line: bytes) -> None:
        assert INGRESS.offset_of(line) is None

    @given(st.binary() | st.binary().map(b"orders|3|1|".__add__))
    def test_any_bytes_are_a_line_or_refused(self, line: bytes) -> None:
        check_offset_of(PARTITION, line)
        check_offset_of(INGRESS, line)

    @given(MESSAGES, OFFSETS)
    def test_a_cut_line_is_refused_or_a_line(self, message: Message, offset: int) -> None:
        payload = encoded(message)
        (ingress,) = INGRESS.encode(offset, [b"orders|" + payload])
        (line,) = PARTITION.encode(offset, [payload])
        for end in range(max(len(line), len(ingress))):
            check_offset_of(PARTITION, line[:-1][:end])
            check_offset_of(INGRESS, ingress[:-1][:end])

    @pytest.mark.parametrize(
        ("line_format", "line"),
        [
            (PARTITION, b'orders|3|42|a\\u007c|{"a":[1,"b"]}|{"k":12}'),
            (PARTITION, b"orders|3|7|12345678901234567890|12|{}"),
            (INGRESS, 'broker_1|9|orders|ü\\n|[1.5e3,"é"]'.encode()),
        ],
    )
    def test_a_line_with_one_byte_changed_to_any_other_is_refused_or_a_line(
        self, line_format: LineFormat, line: bytes
    ) -> None:
        assert line_format.offset_of(line)
        for position in range(len(line)):
            for byte in range(256):
                changed = line[:position] + bytes([byte]) + line[position + 1 :]
                if b"\n" not in changed:
                    check_offset_of(line_format, changed)

    @given(MESSAGES, OFFSETS, st.data())
    def test_any_line_with_one_byte_changed_is_refused_or_a_line(
        self, message: Message, offset: int, data: st.DataObject
    ) -> None:
        line = bytearray(line_of(message, offset))
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(11, 255))
        check_offset_of(PARTITION, bytes(line))
