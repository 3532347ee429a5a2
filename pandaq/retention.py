"""Which sealed segments of a log may go.

Segments go whole and oldest first. A message that is not committed stays, unless the topic's
`deleteUncommitted` says otherwise.
"""

from collections.abc import Sequence
from typing import Protocol

from pandaq.config import Retention


class Aged(Protocol):
    """What the rule looks at in a segment: its last offset, bytes, and newest append time."""

    @property
    def last(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def newest_ms(self) -> int: ...  # noqa: D102


def expired_through(
    segments: Sequence[Aged], active_bytes: int, read: int, retention: Retention, now_ms: int
) -> int:
    """Return the offset up to which the oldest sealed segments may be deleted; 0 for none.

    `segments` are the sealed ones, oldest first; `active_bytes` counts towards `maxBytes`;
    `read` is the readOffset; times are milliseconds since 1970.
    """
    size = active_bytes + sum(segment.size for segment in segments)
    through = 0
    for segment in segments:
        too_old = (
            retention.max_age_ms is not None and now_ms - segment.newest_ms > retention.max_age_ms
        )
        too_much = retention.max_bytes is not None and size > retention.max_bytes
        committed = segment.last <= read
        unwanted = too_old or too_much or (committed and not retention.keep_committed)
        if not unwanted or not (committed or retention.delete_uncommitted):
            break
        through = segment.last
        size -= segment.size
    return through
