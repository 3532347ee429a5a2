"""Row 2: batches of one producer until they are routed, against Redis Streams and others."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.contender import Load, produce_per_s
from bench.peers import Peer
from bench.peers.beanstalkd import Beanstalkd
from bench.peers.jetstream import JetStream
from bench.peers.rabbitmq import RabbitMQ
from bench.peers.redis_streams import RedisStreams
from bench.rounds import Contender, Rounds, alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.load import BATCH_MESSAGES, batches
from pandaq.errors import PandaqError

SAYS: Final = (
    "batches of 500 by one producer until all are routed, against Redis Streams and others"
)
MESSAGES: Final = 100_000
PANDAQ: Final = "Panda-Q"
REACH: Final = Reach("ratio", "at least", 2.5)
REDIS: Final = RedisStreams()
OTHERS: Final[Sequence[Peer]] = (JetStream(), RabbitMQ(), Beanstalkd())
UNIT: Final = "messages/s"


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the row `produce`, and one for each other broker that is there."""
    load = batches(setting.size(MESSAGES, 2 * BATCH_MESSAGES))
    there: list[Peer] = []
    for peer in (REDIS, *OTHERS):
        if sentence := peer.missing() or _try_out(setting, peer):
            yield Skipped(peer.name, sentence)
        else:
            there.append(peer)
    contenders: dict[str, Contender] = {PANDAQ: partial(_pandaq, load)}
    contenders |= {peer.name: partial(_peer, peer, load) for peer in there}
    rounds = alternate(setting, contenders)
    yield _row(setting, rounds, REDIS if REDIS in there else None)
    for peer in there:
        if peer is not REDIS:
            yield _peer_row(setting, rounds, peer)


def _try_out(setting: Setting, peer: Peer) -> str:
    """Send a peer one batch; return what went wrong, if anything."""
    setting.progress.show(f"trying {peer.name}")
    try:
        with setting.temporary_folder() as folder:
            peer.produce_per_s(folder, batches(BATCH_MESSAGES))
    except (PandaqError, OSError) as error:
        return str(error)
    return ""


def _pandaq(load: Load, folder: Path) -> dict[str, float]:
    return {PANDAQ: produce_per_s(folder, load)}


def _peer(peer: Peer, load: Load, folder: Path) -> dict[str, float]:
    return {peer.name: peer.produce_per_s(folder, load)}


def _row(setting: Setting, rounds: Rounds, peer: Peer | None) -> Row:
    return Row(
        key="produce",
        title=f"produce batches of {BATCH_MESSAGES}, until routed",
        unit=UNIT,
        value=rounds.spread(PANDAQ),
        against=peer.setting() if peer else "",
        other=rounds.spread(peer.name) if peer else None,
        ratio=rounds.ratio(PANDAQ, peer.name) if peer else None,
        reach=REACH,
        place=place_of(setting, rounds),
    )


def _peer_row(setting: Setting, rounds: Rounds, peer: Peer) -> Row:
    return Row(
        key=f"produce-{peer.name.lower().replace(' ', '-')}",
        title=f"produce batches of {BATCH_MESSAGES}",
        unit=UNIT,
        value=rounds.spread(PANDAQ),
        against=peer.setting(),
        other=rounds.spread(peer.name),
        ratio=rounds.ratio(PANDAQ, peer.name),
        is_peer=True,
        place=place_of(setting, rounds),
    )
