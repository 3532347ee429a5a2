"""What a message has beside its id and its content."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.config import Config
from pandaq.errors import InvalidRequest, PayloadTooLarge
from pandaq.extra import (
    Extra,
    Refusal,
    decode_extra,
    encode_extra,
    extras_of,
    may_be_delayed,
    may_be_hidden,
)
from pandaq.message import Message
from pandaq.records import LineFormat, decode_record, encode_payloads, extra_of, keys_of, with_extra

NOW_MS = 1_700_000_000_000
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    '|"\\\n\r\0', max_size=6
)
NUMBERS = st.none() | st.integers(0, 2**53)
EXTRAS = st.builds(
    Extra,
    st.none() | TEXTS,
    st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.none() | st.builds(Refusal, TEXTS, *[st.integers(0, 9)] * 3, TEXTS),
)


class Said(NamedTuple):
    """What a producer says of a message."""

    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay_ms: int | None = None
    deliver_at: int | None = None
    ttl_ms: int | None = None


def extra_from(said: Said, **settings: Any) -> Extra:
    extras = extras_of([said], NOW_MS, Config(**settings))
    assert extras
    return decode_extra(extras[0])


class TestCodec:
    @given(EXTRAS)
    def test_what_goes_in_comes_out_on_a_line_that_is_whole(self, extra: Extra) -> None:
        (payload,) = encode_payloads(["m|1"], [b'"x|y"'], extras=[encode_extra(extra)])
        (line,) = LineFormat.partition("t", 0).encode(1, [payload])
        assert LineFormat.partition("t", 0).offset_of(line[:-1]) == 1
        assert decode_extra(extra_of(payload)) == extra
        record = decode_record(line[:-1], 5)
        assert (record.key, record.headers) == (extra.key, extra.headers or {})
        assert record.timestamp_ms == 5
        assert with_extra(payload, b"") == rb'm\u007c1|"x\u007cy"'

    @given(EXTRAS)
    def test_what_some_do_not_see_or_what_waits_is_told_quickly_of_every_such_line(
        self, extra: Extra
    ) -> None:
        text = encode_extra(extra)
        if extra.refusal or extra.expires_at is not None:
            assert may_be_hidden(text)
        if extra.is_delayed:
            assert may_be_delayed(text)

    def test_nothing_to_say_is_no_field(self) -> None:
        assert encode_extra(Extra()) == b""
        assert decode_extra(b"") == Extra()

    def test_a_field_of_another_kind_says_nothing(self) -> None:
        assert decode_extra(b'{"key":5}') == Extra()
        assert decode_extra(b'{"someday":5}') == Extra()

    def test_content_that_looks_like_such_a_field_is_none(self) -> None:
        for content in (b'{"deliverAt":1}', b'{"key":"k"}', b'["a|b",{"refusal":{}}]'):
            (payload,) = encode_payloads(["m"], [content])
            assert extra_of(payload) == b""
            assert keys_of([payload]) == [b"m"]

    def test_a_key_routes_in_place_of_the_id(self) -> None:
        extras = [encode_extra(Extra(key="k|\n")), b"", encode_extra(Extra(headers={"key": "x"}))]
        payloads = encode_payloads(["a|", "b", "c"], [b"1"] * 3, extras=extras)
        assert keys_of(payloads) == [b"k|\n", b"b", b"c"]


class TestWhatProducersSay:
    def test_nothing_is_nothing(self) -> None:
        assert extras_of([Said(), Message("m", b"1")], NOW_MS, Config()) is None
        assert extras_of([Said(), Said(key="k")], NOW_MS, Config()) == [b"", b'{"key":"k"}']

    def test_empty_headers_are_none(self) -> None:
        assert extra_from(Said(headers={}, key="k")) == Extra(key="k")

    @pytest.mark.parametrize(
        ("said", "due_ms"),
        [
            (Said(delay_ms=5), NOW_MS + 5),
            (Said(delay_ms=0), None),
            (Said(deliver_at=NOW_MS + 1), NOW_MS + 1),
            (Said(deliver_at=NOW_MS), None),
            (Said(deliver_at=0), None),
        ],
    )
    def test_what_is_due_already_is_not_delayed(self, said: Said, due_ms: int | None) -> None:
        assert extra_from(said).deliver_at == due_ms

    def test_the_time_to_live_counts_from_now(self) -> None:
        extra = extra_from(Said(ttl_ms=10))
        assert extra.expires_at == NOW_MS + 10
        assert not extra.is_expired(NOW_MS + 9)
        assert extra.is_expired(NOW_MS + 10)

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            (Said(key=""), "key is ''"),
            (Said(key="x" * 513), "key is"),
            (Said(key="\ud800"), "key is"),
            (Said(headers={"": "x"}), "name that is empty"),
            (Said(headers={"a": "\ud800"}), "surrogate"),
            (Said(delay_ms=-1), "delayMs is -1"),
            (Said(delay_ms=1_001), "maxDelayMs"),
            (Said(deliver_at=-1), "deliverAt is -1"),
            (Said(deliver_at=NOW_MS + 1_001), "maxDelayMs"),
            (Said(delay_ms=1, deliver_at=1), "send one of them"),
            (Said(ttl_ms=0), "ttlMs is 0"),
        ],
    )
    def test_what_cannot_be_is_refused_and_named(self, said: Said, words: str) -> None:
        with pytest.raises(InvalidRequest, match=words):
            extra_from(said, max_delay_ms=1_000)
        with pytest.raises(InvalidRequest, match="message 1: "):
            extras_of([Said(), said], NOW_MS, Config(max_delay_ms=1_000))

    def test_headers_have_a_limit_in_bytes(self) -> None:
        assert extra_from(Said(headers={"ü": "ü"}), max_header_bytes=4).headers == {"ü": "ü"}
        with pytest.raises(PayloadTooLarge, match="maxHeaderBytes"):
            extra_from(Said(headers={"ü": "üx"}), max_header_bytes=4)


class TestWhoSeesWhat:
    def test_a_copy_is_for_the_group_that_refused_it(self) -> None:
        extra = Extra(refusal=Refusal("g", 1, 0, 7))
        assert extra.is_visible_to("g", NOW_MS)
        assert not extra.is_visible_to("", NOW_MS)

    def test_what_has_expired_is_for_nobody(self) -> None:
        extra = Extra(expires_at=NOW_MS)
        assert extra.is_visible_to("g", NOW_MS - 1)
        assert not extra.is_visible_to("g", NOW_MS)
