"""Which messageIds came lately, by the ingress log, which is kept for as long as that matters."""

from pandaq.config import Config
from pandaq.dedupe import SeenIds
from pandaq.extra import decode_extra
from pandaq.records import extra_of, message_id_of, split_ingress_line
from pandaq.storage.log import Log
from pandaq.storage.tail import runs


def read_seen(ingress: Log, config: Config, now_ms: int) -> dict[str, SeenIds]:
    """Return the messageIds of each topic that has a window, as far as it reaches back.

    Raises `StorageFailed`.
    """
    windows, most = _windows(config), config.max_dedupe_ids
    seen = {topic_id: SeenIds(window_ms, most) for topic_id, window_ms in windows.items()}
    if not seen:
        return seen
    first = ingress.first_since(now_ms - max(windows.values()))
    for lines, time_ms in runs(ingress, first, stop_at_damage=False):
        for _, _, name, payload in map(split_ingress_line, lines):
            ids = seen.get(name.decode())
            extra = decode_extra(extra_of(payload))
            # What the broker itself appended had come before.
            if ids is not None and extra.delayed is None and extra.refusal is None:
                ids.add([message_id_of(payload)], time_ms)
    return seen


def needless(ingress: Log, routed: int, config: Config, now_ms: int) -> int:
    """Return the offset up to which the ingress log is neither to be routed nor to be remembered.

    Raises `OSError`.
    """
    windows = _windows(config).values()
    return min(routed, ingress.aged_through(now_ms - max(windows))) if windows else routed


def _windows(config: Config) -> dict[str, int]:
    return {
        topic.id: topic.dedupe_window_ms
        for topic in config.topics
        if topic.dedupe_window_ms is not None
    }
