"""When to try again, and how long to wait before: the rules, and no I/O but the sleep.

The wait before attempt n + 1 is random between 0 and min(5 s, 0.2 s * 2^n) ("full jitter", as in
Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015). A Retry-After of the answer
(RFC 9110, 10.2.3) is added to it: never earlier than asked for, and not all clients at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_S = 0.2
_CEILING_S = 5.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to try again, how long that may take, and where waiting comes from.

    `retries` further attempts at most; the waits before them add up to `max_delay_s` at most;
    `sleep` takes seconds; `jitter` gives a number from 0 to 1.

    >>> retry = Retry(retries=5, max_delay_s=30, sleep=print, jitter=lambda: 1.0)
    >>> [retry.delay_s(attempt, slept_s=0) for attempt in range(6)]
    [0.2, 0.4, 0.8, 1.6, 3.2, None]
    >>> retry.delay_s(0, slept_s=0, after_s=2)
    2.2
    >>> retry.delay_s(0, slept_s=29, after_s=2) is None
    True
    """

    retries: int
    max_delay_s: float
    sleep: Callable[[float], None]
    jitter: Callable[[], float]

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}; it must be 0 (never) or more")
        if self.max_delay_s < 0:
            raise ValueError(f"max_retry_delay_s is {self.max_delay_s}; it must be 0 or more")

    def delay_s(self, attempt: int, slept_s: float, after_s: float = 0.0) -> float | None:
        """Return the wait after attempt number `attempt` (from 0) failed, or None to give up.

        `slept_s` was waited so far; `after_s` is what the answer asked for. An answer that asks
        for more than is left is not worth a wait.
        """
        left_s = self.max_delay_s - slept_s
        if attempt >= self.retries or left_s <= 0 or after_s > left_s:
            return None
        return min(after_s + self.jitter() * backoff_s(attempt), left_s)


def backoff_s(attempt: int, ceiling_s: float = _CEILING_S) -> float:
    """Return the longest wait after attempt number `attempt` (from 0).

    >>> [backoff_s(attempt) for attempt in (0, 1, 2, 10_000)]
    [0.2, 0.4, 0.8, 5.0]
    """
    return min(ceiling_s, _FIRST_S * 2.0 ** min(attempt, 32))


def retry_after_s(retry_after: str | None, date: str | None = None) -> float:
    """Return the seconds that a Retry-After header asks for; 0 if it is absent or makes no sense.

    A point in time is compared with the answer's own Date header, so that a wrong clock on this
    side does no harm; without one, with this side's clock.

    >>> retry_after_s("3")
    3.0
    >>> retry_after_s("Wed, 21 Oct 2026 07:28:09 GMT", date="Wed, 21 Oct 2026 07:28:00 GMT")
    9.0
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until = _instant(text)
    if until is None:
        return 0.0
    now = _instant(date or "")
    return max(0.0, until - (time.time() if now is None else now))


def _instant(http_date: str) -> float | None:
    try:
        instant: datetime = parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):
        return None
    # "-0000" instead of "GMT" parses as a time without a zone; both mean UTC.
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
