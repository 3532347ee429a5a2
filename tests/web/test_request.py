import io
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.errors import InvalidRequest, PandaqError, PayloadTooLarge, UnsupportedMediaType
from pandaq.web.payloads import RegisterBody
from pandaq.web.request import Request

REGISTER = msgspec.json.Decoder(RegisterBody)
BODY = b'{"consumerId":"c"}'
LIMIT = 100


def request(query: str = "", body: bytes = b"", **environ: Any) -> Request:
    found: dict[str, Any] = {
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    return Request(found | environ, LIMIT)


class TestBody:
    @pytest.mark.parametrize(
        "content_type",
        [
            *("", "application/json", "application/JSON", "application/json; charset=utf-8"),
            *('application/json;charset="UTF-8"', "application/vnd.api+json", "application/json;"),
        ],
    )
    def test_a_body_that_says_it_is_json_or_nothing_is_read(self, content_type: str) -> None:
        body = request(body=BODY, CONTENT_TYPE=content_type).decode(REGISTER)
        assert body.consumer_id == "c"

    @pytest.mark.parametrize(
        "content_type",
        [
            *("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"),
            *("application/json; charset=utf-16", "application/json x", "multipart/form-data"),
        ],
    )
    def test_a_body_that_says_it_is_something_else_is_refused(self, content_type: str) -> None:
        with pytest.raises(UnsupportedMediaType, match="send JSON"):
            request(body=BODY, CONTENT_TYPE=content_type).decode(REGISTER)

    def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_refused(self) -> None:
        body = BODY.ljust(LIMIT)
        assert request(body=body).decode(REGISTER).consumer_id == "c"
        with pytest.raises(PayloadTooLarge, match=r"101 .* 100 \(maxBodyBytes\)"):
            request(body=body + b" ").decode(REGISTER)

    def test_an_oversize_body_is_refused_unread(self) -> None:
        body = BODY.ljust(LIMIT + 1)
        stream = io.BytesIO(body)
        environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": stream}
        with pytest.raises(PayloadTooLarge):
            Request(environ, LIMIT).decode(REGISTER)
        assert stream.tell() == 0

    @pytest.mark.parametrize("length", ["", "0"])
    def test_no_body_is_refused_in_words(self, length: str) -> None:
        with pytest.raises(InvalidRequest, match="the body is empty"):
            request(CONTENT_LENGTH=length).decode(REGISTER)


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "value"),
        [
            *(("", False), ("b", False), ("b=", False), ("b=f", False), ("b=false", False)),
            *(("b=t", True), ("b=true", True), ("b=T", True), ("b=TRUE", True), ("b=%74", True)),
            *(("a=1&b=t", True), ("b=f&b=t", True), ("b=t&b=f", False), ("B=t", False)),
        ],
    )
    def test_a_flag_is_t_or_f(self, query: str, value: bool) -> None:
        assert request(query).flag("b") is value

    @pytest.mark.parametrize("query", ["b=1", "b=yes", "b=tt", "b=%00", "b=t%20", "b=\xff"])
    def test_another_flag_is_refused_by_name(self, query: str) -> None:
        with pytest.raises(InvalidRequest, match=r"b is .* must be t or f"):
            request(query).flag("b")

    @pytest.mark.parametrize(
        ("query", "value"),
        [
            *(("", 500), ("max=", 500), ("max=1", 1), ("max=007", 7), ("max=1000", 1000)),
            *(("max=1001", 1000), ("max=" + "9" * 15, 1000), ("max=1&max=2", 2)),
        ],
    )
    def test_a_number_has_a_default_and_is_cut_at_its_limit(self, query: str, value: int) -> None:
        assert request(query).number("max", 500, 1, 1000) == value

    @pytest.mark.parametrize(
        "text", ["0", "-1", "+1", "1.0", "1e3", "a", "%C2%B2", "1%0A", "9" * 16, "1e999", "\xb2"]
    )
    def test_another_number_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(InvalidRequest, match=r"max is .* must be an integer from 1 on"):
            request(f"max={text}").number("max", 500, 1, 1000)

    @pytest.mark.parametrize("query", ["b=%ff", "%ff=t", "b=%ED%A0%80", "b=t&x=%C3"])
    def test_wrong_utf_8_is_refused(self, query: str) -> None:
        with pytest.raises(InvalidRequest, match="the query is not valid"):
            request(query).flag("b")

    def test_a_hundred_fields_are_read_and_more_are_refused(self) -> None:
        assert request("b=t" + "&a=1" * 99).flag("b")
        with pytest.raises(InvalidRequest, match="too many fields"):
            request("b=t" + "&a=1" * 100).flag("b")

    def test_what_is_wrong_is_not_sent_back_whole(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            request("b=" + "x" * 10_000).flag("b")
        assert len(str(caught.value)) < 100

    @given(st.text(st.characters(max_codepoint=255), max_size=60))
    def test_any_query_is_read_or_refused(self, query: str) -> None:
        try:
            assert request(query).flag("b") in {True, False}
            assert 1 <= request(query).number("max", 1, 1, 9) <= 9
        except PandaqError as error:
            assert error.code == "INVALID_REQUEST"  # noqa: PT017 (both ways are right)
