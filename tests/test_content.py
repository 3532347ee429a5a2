import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.content import MAX_DIGITS, MAX_NESTING, are_contents, check_content
from pandaq.errors import InvalidRequest
from tests.test_records import json_texts

PIECES = [b"", b" ", b"1", b"1,", b"[", b"]", b"[1", b"2]", b",", b'"', b'"a', b"\xc3", b"\xbc"]


class TestContent:
    @pytest.mark.parametrize(
        "text", [b"", b"{", b"NaN", b"'a'", b'"\xff"', b'"\\ud800"', b"1 2", b"[" * 100_000]
    )
    def test_what_is_no_json_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidRequest, match="content is not valid JSON"):
            check_content(text)

    @pytest.mark.parametrize("opening", [b"[", b'{"a":'])
    def test_it_may_be_nested_as_deep_as_the_limit_and_no_deeper(self, opening: bytes) -> None:
        closing = b"]" if opening == b"[" else b"}"
        deepest = opening * MAX_NESTING + b"1" + closing * MAX_NESTING
        check_content(deepest)
        with pytest.raises(InvalidRequest, match=f"deeper than {MAX_NESTING} levels"):
            check_content(opening + deepest + closing)

    def test_brackets_in_strings_and_side_by_side_are_no_nesting(self) -> None:
        for text in (
            b'"' + b"[" * 1000 + b'"',
            b'["' + b'\\"[\\\\' * 1000 + b'"]',
            b"[" + b",".join([b"[]"] * 1000) + b"]",
        ):
            check_content(text)

    def test_nesting_behind_a_string_that_ends_in_a_backslash_counts(self) -> None:
        text = b'["\\\\",' + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"]"
        with pytest.raises(InvalidRequest, match="nested deeper"):
            check_content(text)

    @pytest.mark.parametrize("before", [b"", b"-", b"[", b"[-", b'{"a":', b"[1e5,", b'["1",'])
    def test_an_integer_that_python_would_not_read_is_refused(self, before: bytes) -> None:
        after = {b"[": b"]", b"{": b"}"}.get(before[:1], b"")
        check_content(before + b"1" * MAX_DIGITS + after)
        with pytest.raises(InvalidRequest, match=f"integer of more than {MAX_DIGITS} digits"):
            check_content(before + b"1" * (MAX_DIGITS + 1) + after)

    @pytest.mark.parametrize(
        "text",
        [
            *(b"1" * 5000 + b".5", b"1" * 5000 + b"e5", b"0." + b"1" * 5000),
            *(b"1e" + b"1" * 5000, b"1e-" + b"1" * 5000, b"1E+" + b"1" * 5000),
            *(b'"' + b"1" * 5000 + b'"', b'[1e999,"' + b"1" * 5000 + b'"]'),
        ],
        ids=lambda text: text[:12],
    )
    def test_other_long_numbers_and_digits_in_strings_are_no_such_integer(
        self, text: bytes
    ) -> None:
        check_content(text)
        json.loads(text)

    @pytest.mark.parametrize(
        "text",
        [
            b'"' + (b"1" * MAX_DIGITS + b"x") * 240 + b'"',
            b'["' + b"x" * 1_000_000 + b'"' + b",[]" * 600 + b"]",
            b'["' + b"\\n" * 500_000 + b'"' + b",[]" * 600 + b"]",
            b"[" + b'"[",' * 250_000 + b"1]",
        ],
        ids=["digits", "string", "escapes", "strings"],
    )
    def test_a_megabyte_is_checked_at_once(self, text: bytes) -> None:
        began = time.process_time()
        check_content(text)
        assert time.process_time() - began < 0.5


class TestSeveral:
    """`are_contents` may say no too often, never yes where one of them would be refused."""

    @given(st.lists(json_texts() | st.sampled_from(PIECES), min_size=1, max_size=5))
    def test_what_passes_together_would_pass_alone(self, contents: list[bytes]) -> None:
        if are_contents(contents):
            for content in contents:
                check_content(content)

    @given(st.lists(json_texts(), min_size=1, max_size=5))
    def test_short_contents_pass(self, contents: list[bytes]) -> None:
        bare = [content.strip() for content in contents if len(content) <= MAX_NESTING]
        assert are_contents(bare)

    @pytest.mark.parametrize(
        "contents",
        [
            [b"1,[", b"2]"],
            [b"1", b""],
            [b"", b"1"],
            [b"1,2"],
            [b"[1", b"2]"],
            [b'"a', b'b"'],
            [b"1]", b"[2"],
            [b'"\xc3', b'\xbc"'],
            [b'"\\ud83d', b'\\ude00"'],
            [b"1" * 5000],
            [b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1)],
        ],
    )
    def test_parts_that_only_together_are_json_do_not_pass(self, contents: list[bytes]) -> None:
        assert not are_contents(contents)
