"""Row 3: consume and commit in batches, against Redis Streams."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.contender import consume_per_s
from bench.peers.redis_streams import RedisStreams
from bench.rounds import Contender, alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.load import BATCH_MESSAGES, batches

SAYS: Final = "consume and commit in batches of 500, against XREADGROUP and XACK of Redis Streams"
MESSAGES: Final = 100_000
PANDAQ: Final = "Panda-Q"
REDIS: Final = RedisStreams()


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the row `consume`."""
    load = batches(setting.size(MESSAGES, 2 * BATCH_MESSAGES))

    def pandaq(folder: Path) -> Mapping[str, float]:
        return {PANDAQ: consume_per_s(folder, load)}

    def redis(folder: Path) -> Mapping[str, float]:
        return {REDIS.name: REDIS.consume_per_s(folder, load)}

    contenders: dict[str, Contender] = {PANDAQ: pandaq}
    if sentence := REDIS.missing():
        yield Skipped(REDIS.name, sentence)
    else:
        contenders[REDIS.name] = redis
    rounds = alternate(setting, contenders)
    has_redis = REDIS.name in contenders
    yield Row(
        key="consume",
        title=f"consume and commit batches of {BATCH_MESSAGES}",
        unit="messages/s",
        value=rounds.spread(PANDAQ),
        against=REDIS.setting() if has_redis else "",
        other=rounds.spread(REDIS.name) if has_redis else None,
        ratio=rounds.ratio(PANDAQ, REDIS.name) if has_redis else None,
        reach=Reach("ratio", "at least", 3.0),
        note="contents decoded on both sides",
        place=place_of(setting, rounds),
    )
