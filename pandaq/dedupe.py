"""Which messageIds a topic has had lately, so that one that comes again is known.

An id is remembered for `dedupeWindowMs` from when it first came. The memory is bounded: beyond
`maxDedupeIds` the oldest are forgotten early, and counted, so that it can be said.
"""

from collections import OrderedDict
from collections.abc import Iterable


class SeenIds:
    """The ids of one topic, in the order in which they came; times are ms since 1970.

    >>> seen = SeenIds(window_ms=1000, max_ids=10)
    >>> seen.add(["a"], now_ms=0)
    >>> seen.has("a", 1000), seen.has("a", 1001), seen.has("b", 0)
    (True, False, False)
    """

    def __init__(self, window_ms: int, max_ids: int) -> None:
        self.window_ms = window_ms
        self.forgotten = 0
        """How many ids were forgotten before their time."""
        self._max_ids = max_ids
        # Of a plain dict, the first key is the harder to find the more were taken from its front.
        self._times: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def has(self, message_id: str, now_ms: int) -> bool:
        """Tell whether an id came within the window."""
        time_ms = self._times.get(message_id)
        return time_ms is not None and now_ms - time_ms <= self.window_ms

    def add(self, ids: Iterable[str], now_ms: int) -> None:
        """Remember ids that came now, and forget those whose time is over."""
        for message_id in ids:
            # Put last, where it stood before: the oldest come first.
            self._times.pop(message_id, None)
            self._times[message_id] = now_ms
        while self._times:
            oldest = next(iter(self._times))
            is_over = now_ms - self._times[oldest] > self.window_ms
            if not is_over and len(self._times) <= self._max_ids:
                break
            del self._times[oldest]
            self.forgotten += not is_over

    def discard(self, ids: Iterable[str]) -> None:
        """Forget ids that were not kept after all."""
        for message_id in ids:
            self._times.pop(message_id, None)
