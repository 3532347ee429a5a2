"""When to try again and how long to wait."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq_sdk.retry import Retry, retry_after_s

fractions = st.floats(0, 1)


def retry(retries: int = 5, max_delay_s: float = 30, jitter: float = 1.0) -> Retry:
    return Retry(retries, max_delay_s, sleep=lambda _: None, jitter=lambda: jitter)


@given(st.integers(0, 10_000), fractions, st.floats(0, 100), st.floats(0, 100))
def test_a_wait_is_never_shorter_than_asked_for_nor_longer_than_is_left(
    attempt: int, jitter: float, slept_s: float, after_s: float
) -> None:
    delay_s = retry(20_000, 60, jitter).delay_s(attempt, slept_s, after_s)
    if delay_s is None:
        assert slept_s + after_s >= 60
    else:
        assert after_s <= delay_s <= min(60 - slept_s, after_s + 5)


def test_without_retries_nothing_is_tried_again() -> None:
    assert retry(retries=0).delay_s(0, slept_s=0) is None


def test_jitter_spreads_the_wait_over_the_whole_backoff() -> None:
    assert retry(jitter=0.0).delay_s(0, slept_s=0) == 0
    assert retry(jitter=0.5).delay_s(0, slept_s=0) == pytest.approx(0.1)


@pytest.mark.parametrize("text", [None, "", "soon", "-1", "1.5", "²", "1e3"])
def test_a_retry_after_that_makes_no_sense_asks_for_nothing(text: str | None) -> None:
    assert retry_after_s(text) == 0


@given(st.text(), st.none() | st.text())
def test_no_header_breaks_the_reading_of_retry_after(text: str, date: str | None) -> None:
    assert retry_after_s(text, date) >= 0


@pytest.mark.parametrize(
    "text", ["1 Jan 99999999999999999999 00:00:00 GMT", "1 Jan 2026 00:00:00 +99999999999999999"]
)
def test_a_date_beyond_the_calendar_asks_for_nothing(text: str) -> None:
    assert retry_after_s(text) == 0


def test_a_date_in_retry_after_is_compared_with_the_date_of_the_answer() -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after_s("Wed, 21 Oct 2015 07:29:00 GMT", date) == 60
    assert retry_after_s("Wed, 21 Oct 2015 07:27:00 GMT", date) == 0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
def test_a_date_without_a_zone_is_in_utc_wherever_the_client_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "EAST-5")
        time.tzset()
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        assert retry_after_s("Wed, 21 Oct 2015 07:29:00 -0000", date) == 60
    time.tzset()


def test_a_date_in_retry_after_is_compared_with_the_clock_if_the_answer_has_none() -> None:
    assert retry_after_s(formatdate(time.time() + 1000, usegmt=True)) == pytest.approx(1000, abs=60)


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"max_delay_s": -1}])
def test_a_negative_limit_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is -1; it must be 0"):
        retry(**wrong)
