"""Calls to a broker: what is sent, what is tried again, what is raised."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pandaq_sdk import (
    BrokerError,
    BufferFull,
    ClientClosed,
    ConnectionFailed,
    OutcomeUnknown,
    Producer,
    StorageFull,
    Unavailable,
    UnexpectedAnswer,
)
from pandaq_sdk.connection import Connection, path_segment
from tests.sdk.fake_broker import BREAK_OFF, HANG_UP, SILENCE, FakeBroker, Reply, refusal

NewProducer = Callable[..., Producer]

MESSAGE = {"messageId": "m1", "content": 1}


@pytest.mark.parametrize(
    "failure",
    [
        refusal(429, "BUFFER_FULL"),
        refusal(503, "SHUTTING_DOWN"),
        refusal(503, "STORAGE_FAILED"),
        refusal(503, "TIMEOUT"),
        Reply(503, b"<html>no backend</html>"),
        HANG_UP,
        BREAK_OFF,
    ],
    ids=lambda reply: f"{reply.status}-{reply.body[:60].decode()}",
)
def test_what_may_pass_is_tried_again(
    broker: FakeBroker, producer: Producer, sleeps: list[float], failure: Reply
) -> None:
    broker.script(failure, failure)
    assert producer.produce(MESSAGE).message_id == "m1"
    assert len(broker.requests) == 3
    assert broker.requests[0].body == broker.requests[2].body
    assert sleeps == [0.2, 0.4]


@pytest.mark.parametrize(
    "status_and_code",
    [
        (400, "INVALID_REQUEST"),
        (401, "UNAUTHENTICATED"),
        (404, "TOPIC_NOT_FOUND"),
        (409, "NOT_ASSIGNED"),
        (413, "PAYLOAD_TOO_LARGE"),
        (500, "INTERNAL_ERROR"),
        (507, "STORAGE_FULL"),
    ],
)
def test_what_lasts_is_not_tried_again(
    broker: FakeBroker, producer: Producer, status_and_code: tuple[int, str]
) -> None:
    broker.script(refusal(*status_and_code))
    with pytest.raises(BrokerError) as caught:
        producer.produce(MESSAGE)
    assert (caught.value.status, caught.value.error_code) == status_and_code
    assert len(broker.requests) == 1


def test_a_full_disk_is_an_error_that_says_nothing_was_kept(
    broker: FakeBroker, producer: Producer
) -> None:
    broker.script(refusal(507, "STORAGE_FULL"))
    with pytest.raises(StorageFull):
        producer.produce(MESSAGE)


def test_retries_are_bounded_and_the_last_refusal_is_raised(
    broker: FakeBroker, new_producer: NewProducer, sleeps: list[float]
) -> None:
    broker.script(*[refusal(503, "SHUTTING_DOWN")] * 3, refusal(503, "TIMEOUT"))
    with pytest.raises(OutcomeUnknown):
        new_producer(retries=3).produce(MESSAGE)
    assert len(broker.requests) == 4
    assert sleeps == [0.2, 0.4, 0.8]


def test_without_retries_a_call_is_made_once(broker: FakeBroker, new_producer: NewProducer) -> None:
    broker.script(refusal(503, "SHUTTING_DOWN"))
    with pytest.raises(Unavailable):
        new_producer(retries=0).produce(MESSAGE)
    assert len(broker.requests) == 1


def test_waits_are_bounded_in_sum(
    broker: FakeBroker, new_producer: NewProducer, sleeps: list[float]
) -> None:
    broker.script(*[refusal(503, "SHUTTING_DOWN")] * 10)
    with pytest.raises(Unavailable):
        new_producer(retries=100, max_retry_delay_s=1).produce(MESSAGE)
    assert sleeps == pytest.approx([0.2, 0.4, 0.4])


def test_retry_after_in_seconds_is_honoured(
    broker: FakeBroker, producer: Producer, sleeps: list[float]
) -> None:
    broker.script(refusal(429, "BUFFER_FULL", Retry_After="7"))
    producer.produce(MESSAGE)
    assert sleeps == [7.2]


def test_retry_after_as_a_date_is_honoured(
    broker: FakeBroker, producer: Producer, sleeps: list[float]
) -> None:
    broker.script(
        refusal(
            503,
            "SHUTTING_DOWN",
            Date="Wed, 21 Oct 2026 07:28:00 GMT",
            Retry_After="Wed, 21 Oct 2026 07:28:09 GMT",
        )
    )
    producer.produce(MESSAGE)
    assert sleeps == [9.2]


def test_a_retry_after_beyond_the_limit_is_raised_at_once(
    broker: FakeBroker, producer: Producer, sleeps: list[float]
) -> None:
    broker.script(refusal(429, "BUFFER_FULL", Retry_After="3600"))
    with pytest.raises(BufferFull):
        producer.produce(MESSAGE)
    assert sleeps == []


def test_no_answer_in_time_is_a_failed_connection(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    broker.script(SILENCE, SILENCE)
    with pytest.raises(ConnectionFailed) as caught:
        new_producer(timeout_s=0.03, retries=1).produce(MESSAGE)
    assert caught.value.attempts == 2
    assert isinstance(caught.value.cause, requests.exceptions.ReadTimeout)
    assert caught.value.__cause__ is caught.value.cause


def test_a_broker_that_is_not_there_is_a_failed_connection(
    broker: FakeBroker, producer: Producer, sleeps: list[float]
) -> None:
    broker.stop()
    with pytest.raises(ConnectionFailed, match=r"no answer to POST http://127.*after 6 attempts"):
        producer.produce(MESSAGE)
    assert len(sleeps) == 5


def test_a_proxys_page_is_an_unexpected_answer(broker: FakeBroker, producer: Producer) -> None:
    broker.script(Reply(502, b"<html>Bad Gateway</html>"))
    with pytest.raises(UnexpectedAnswer, match=r"status 502.*Bad Gateway"):
        producer.produce(MESSAGE)


def test_a_redirect_is_not_followed(broker: FakeBroker, producer: Producer) -> None:
    broker.script(Reply(302, b"", {"Location": "/elsewhere"}))
    with pytest.raises(UnexpectedAnswer) as caught:
        producer.produce(MESSAGE)
    assert caught.value.status == 302
    assert len(broker.requests) == 1


def test_an_answer_that_cannot_be_unpacked_fails_without_retries(
    broker: FakeBroker, producer: Producer
) -> None:
    broker.script(Reply(200, b"not gzip", {"Content-Encoding": "gzip"}))
    with pytest.raises(ConnectionFailed):
        producer.produce(MESSAGE)
    assert len(broker.requests) == 1


def test_one_connection_serves_many_calls(broker: FakeBroker, producer: Producer) -> None:
    for _ in range(3):
        producer.produce(MESSAGE)
    assert len({request.peer for request in broker.requests}) == 1


def test_a_body_is_declared_as_json(broker: FakeBroker, producer: Producer) -> None:
    producer.produce(MESSAGE)
    assert broker.requests[0].headers["Content-Type"] == "application/json"


def test_username_and_password_are_sent_in_utf_8(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    new_producer(username="jürgen", password="пароль:€").produce(MESSAGE)
    scheme, credentials = broker.requests[0].headers["Authorization"].split(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == "jürgen:пароль:€"


def test_a_token_is_sent_even_if_netrc_knows_the_host(
    broker: FakeBroker,
    new_producer: NewProducer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    new_producer(token="s3cret").produce(MESSAGE)
    assert broker.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_without_credentials_none_are_sent(broker: FakeBroker, producer: Producer) -> None:
    producer.produce(MESSAGE)
    assert "Authorization" not in broker.requests[0].headers


@pytest.mark.parametrize(
    "options",
    [
        {"token": "t", "username": "u", "password": "p"},
        {"token": "t", "password": "p"},
        {"username": "u"},
        {"password": "p"},
        {"username": "u:v", "password": "p"},
        {"token": ""},
        {"token": "two words"},
        {"token": "line\nbreak"},
        {"token": "ключ"},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"retries": -1},
        {"max_retry_delay_s": -0.1},
    ],
    ids=str,
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"token|username|timeout_s|retries|max_retry_delay_s"):
        Connection("http://localhost:3000", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:3000", "broker_1", "ftp://localhost", "http://", "http://h?a=b", "http://h#a"],
)
def test_a_url_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url is '.*'; it must"):
        Connection(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="give username= and password= instead") as caught:
        Connection("http://user:s3cret@localhost:3000")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("ending", ["", "/", "/behind/a/proxy", "/behind/a/proxy/"])
def test_a_base_url_may_have_a_path_and_may_end_in_a_slash(broker: FakeBroker, ending: str) -> None:
    broker.script(Reply(200, json.dumps({"success": True, "data": {}}).encode()))
    connection = Connection(broker.url + ending)
    connection.call("GET", "/stats")
    connection.close()
    assert broker.requests[0].path == f"{ending.rstrip('/')}/stats"


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_name_that_a_path_cannot_carry_is_refused(segment: str) -> None:
    with pytest.raises(ValueError, match="topic_id is"):
        path_segment("topic_id", segment)


def test_a_closed_client_says_so(broker: FakeBroker, producer: Producer) -> None:
    producer.close()
    producer.close()
    with pytest.raises(ClientClosed):
        producer.produce(MESSAGE)
    assert broker.requests == []
