"""The HTTP server: waitress around the app, started and stopped with nothing lost in between."""

import logging
import select
import socket
import threading
import time
from functools import partial
from typing import Any, Final, cast

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

from pandaq.actors.system import System
from pandaq.config import Config
from pandaq.errors import StartError
from pandaq.web.app import App
from pandaq.web.channel import OVERSIZE_FACTOR, Channel, Dispatcher
from pandaq.web.desk import Desk

logger = logging.getLogger(__name__)

SELECT_CONNECTIONS: Final = 480
"""Open connections where the system has no poll: Windows can select from 512 sockets."""
RECEIVE_BYTES: Final = 256 * 1024
"""Read from a connection at once."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted."""
_POLL_S: Final = 1.0
_DRAIN_POLL_S: Final = 0.02
_THREADS_STOP_S: Final = 1


class Server:
    """Serves a broker on its `host` and `port`.

    The constructor takes the port, so that what stands in the way is known before a recovery;
    clients that connect wait until `start`. Raises `StartError` where the port cannot be had.
    """

    def __init__(self, system: System) -> None:
        self._app = App(system)
        self._config = system.config
        self._socket = _listen(system.config.host, system.config.port)
        self._host, self._port = self._socket.getsockname()[:2]
        self._map: dict[int, Any] = {}
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where the broker can be reached."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._listener = _waitress(self._app, self._socket, self._map, self._config)
        self._pull_trigger = self._listener.pull_trigger
        self._listener.pull_trigger = self._wake  # type: ignore[method-assign]
        self._desk = Desk(self._wake)
        # waitress calls it as a class, to make what stands for a new connection.
        channel: Any = partial(Channel, self._app, self._desk)
        self._listener.channel_class = channel
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no new request, answer those in flight for up to `timeout_s`, close everything."""
        self._app.stop()
        if self._thread.is_alive():
            self._stop_at = time.monotonic() + timeout_s
            self._wake()
            self._thread.join(timeout_s + _THREADS_STOP_S + _POLL_S)
        # Here and not in the thread, which could close the trigger before it is pulled.
        wasyncore.close_all(self._map, ignore_all=True)
        self._socket.close()

    def is_alive(self) -> bool:
        """Tell whether requests are still taken."""
        return self._thread.is_alive()

    def _wake(self) -> None:
        """Have the server's thread look again; it does so by itself before it sleeps."""
        if threading.get_ident() != self._thread.ident:
            self._pull_trigger()

    def _serve(self) -> None:
        while self._stop_at is None:
            self._poll(_POLL_S)
        wasyncore.dispatcher.close(self._listener)
        while self._open_channels() and time.monotonic() < self._stop_at:
            self._poll(_DRAIN_POLL_S)
        self._listener.task_dispatcher.shutdown(timeout=_THREADS_STOP_S)

    def _poll(self, timeout_s: float) -> None:
        left_s = self._desk.left_s(timeout_s)
        wasyncore.loop(left_s, use_poll=True, map=self._map, count=1)
        self._desk.work()

    def _open_channels(self) -> int:
        """Close the connections that have nothing in flight, and count the others."""
        channels = [each for each in self._map.values() if isinstance(each, HTTPChannel)]
        for channel in channels:
            if not channel.requests and not channel.total_outbufs_len:
                channel.handle_close()
        return sum(isinstance(each, HTTPChannel) for each in self._map.values())


def _waitress(
    app: App, listening: socket.socket, channels: dict[int, Any], config: Config
) -> BaseWSGIServer:
    connections = config.max_connections
    if not hasattr(select, "poll"):
        connections = min(connections, SELECT_CONNECTIONS)
    # A request that finds all threads busy waits for one, which is no reason for a warning each.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    dispatcher = Dispatcher()
    dispatcher.set_thread_count(config.threads)
    # One socket makes one server, not the wrapper around several.
    return cast(
        "BaseWSGIServer",
        create_server(
            app,
            map=channels,
            _dispatcher=dispatcher,
            sockets=[listening],
            threads=config.threads,
            connection_limit=connections + 2,  # It counts the listener and the trigger, too.
            max_request_body_size=config.max_body_bytes * OVERSIZE_FACTOR,
            recv_bytes=RECEIVE_BYTES,
            outbuf_overflow=config.max_consume_bytes * 2,  # It is in memory anyway.
            backlog=BACKLOG,
            channel_request_lookahead=1,  # Without it, a client that goes away is not noticed.
            clear_untrusted_proxy_headers=False,  # None of them is looked at.
            ident="pandaq",
        ),
    )


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address of a host, of IPv4 where there is one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # The latter for a host such as "a..b".
        reason = getattr(error, "strerror", None) or error
        raise StartError(
            f"cannot listen on {host} port {port}: {reason}; "
            "choose another port (--port) or address (--host), or stop what uses it"
        ) from error
