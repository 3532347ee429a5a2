"""RabbitMQ: a durable queue, persistent messages, publisher confirms."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.peers import Load
from bench.servers import LOOPBACK, Server, free_port, missing, program

QUEUE: Final = "orders"
SCRIPT: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""What Debian's own script would run as another user."""
LONGEST_S: Final = 300.0


class RabbitMQ:
    """One classic queue; a batch is as many publishes, all confirmed before the next batch."""

    name = "RabbitMQ"

    def missing(self) -> str | None:
        """Return what to install, if anything."""
        for needed in (SCRIPT, "epmd"):
            if what := missing(needed, "rabbitmq-server", "pika"):
                return what
        return None

    def setting(self) -> str:
        """Return its version and when it syncs."""
        found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
        version = found[-1].name.partition("-")[2] if found else "?"
        return f"RabbitMQ {version}, durable queue, persistent messages, publisher confirms"

    def produce_per_s(self, folder: Path, load: Load) -> float:
        """Publish batches."""
        with _node(folder) as port:
            return _Publisher(port, load).run()


@contextmanager
def _node(folder: Path) -> Iterator[int]:
    """Run a node with its own name server, ports and folders; nothing of it stays."""
    port, names_port, node_port = free_port(), free_port(), free_port()
    (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    environment = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
    }
    names = [program("epmd") or "", "-port", str(names_port), "-address", LOOPBACK]
    with (
        Server(names, folder, names_port, environment),
        Server([SCRIPT], folder, port, environment),
    ):
        yield port


class _Publisher:
    """Publishes a batch when the one before is confirmed; all in pika's own loop."""

    def __init__(self, port: int, load: Load) -> None:
        import pika  # noqa: PLC0415

        self._pika = pika
        self._batches = iter([*load[:2], *load])
        self._count = sum(map(len, load))
        self._warm_up = len(load[:2])
        self._sent = 0
        self._unconfirmed: set[int] = set()
        self._begin = self._end = 0.0
        self._failure = ""
        self._channel: Any = None
        self._connection = pika.SelectConnection(
            pika.ConnectionParameters(LOOPBACK, port, socket_timeout=LONGEST_S),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._declare),
            on_open_error_callback=lambda _, error: self._stop(f"no connection: {error}"),
            on_close_callback=lambda _, why: self._stop("" if self._end else f"closed: {why}"),
        )

    def run(self) -> float:
        """Publish everything; return the messages per second."""
        self._connection.ioloop.start()
        if self._failure or not self._end:
            raise ConnectionError(f"RabbitMQ did not confirm everything; {self._failure}")
        return self._count / (self._end - self._begin)

    def _declare(self, channel: Any) -> None:
        self._channel = channel
        channel.queue_declare(
            QUEUE, durable=True, callback=lambda _: channel.confirm_delivery(self._acked, self._go)
        )

    def _go(self, _answer: Any) -> None:
        self._publish()

    def _publish(self) -> None:
        if self._warm_up == 0:
            self._begin = time.perf_counter()
        self._warm_up -= 1
        batch = next(self._batches, None)
        if batch is None:
            self._end = time.perf_counter()
            self._connection.close()
            return
        for message in batch:
            properties = self._pika.BasicProperties(
                delivery_mode=2, message_id=message["messageId"]
            )
            body = json.dumps(message["content"]).encode()
            self._channel.basic_publish("", QUEUE, body, properties)
            self._sent += 1
            self._unconfirmed.add(self._sent)

    def _acked(self, frame: Any) -> None:
        if type(frame.method).__name__ != "Ack":
            self._stop("a message was refused")
            return
        tag: int = frame.method.delivery_tag
        if frame.method.multiple:
            self._unconfirmed = {each for each in self._unconfirmed if each > tag}
        else:
            self._unconfirmed.discard(tag)
        if not self._unconfirmed:
            self._publish()

    def _stop(self, failure: str) -> None:
        self._failure = failure
        self._connection.ioloop.stop()
