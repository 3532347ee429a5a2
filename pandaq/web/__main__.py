"""`python -m pandaq.web`: run a broker until it is told to stop.

Exit codes: 0 after a clean stop, 1 when the broker had to give up, 2 when it could not start.
SIGINT (Ctrl-C), SIGTERM and, on Windows, SIGBREAK stop it cleanly; a second one stops it at once.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from pandaq.actors.system import System
from pandaq.config_file import DEFAULT_FILE, load_config
from pandaq.errors import StartError
from pandaq.settings import SettingError
from pandaq.storage.disk import raise_open_files_limit
from pandaq.web.server import Server

logger = logging.getLogger("pandaq")

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_NOT_STARTED: Final = 2
WATCH_S: Final = 0.5
"""How often the actors are looked after."""
STOP_POLL_S: Final = 0.1
"""How often a second signal is looked for while the broker stops."""
HTTP_SHARE: Final = 0.4
"""The share of `stopTimeoutMs` in which requests in flight are answered; the rest is for routing
and the checkpoint."""
GARBAGE_OBJECTS: Final = 50_000
"""Python looks for circles of garbage each time so many objects are new; by default 700."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker; return the exit code."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        config = load_config(
            options.config,
            {"--host": options.host, "--port": options.port, "--data": options.data},
            environ=os.environ,
            working_dir=Path.cwd(),
        )
        _log_to_stderr(config.log_level)
        raise_open_files_limit()
        system = System(config)
        server = Server(system)
        try:
            _start(system, options.config)
        except BaseException:
            server.stop(0)
            raise
    except StartError as error:
        print(f"pandaq: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    _collect_less_garbage()
    server.start()
    logger.info("broker %s listens on %s", config.broker_id, server.url)
    failure = _watch(system, server, stop)
    if failure:
        logger.critical("%s; stopping", failure)
    # In a thread of its own: on Windows, waiting for threads would hold a second Ctrl-C back.
    stopping = threading.Thread(target=_stop, args=(system, server), name="stop")
    stopping.start()
    while stopping.is_alive():
        stopping.join(STOP_POLL_S)
    logger.info("stopped")
    return EXIT_FAILED if failure else EXIT_OK


def _start(system: System, config_file: Path | None) -> None:
    """Start the broker; the topics that its data does not allow are those of the config file."""
    try:
        system.start()
    except SettingError as error:
        path = Path.cwd() / (config_file or DEFAULT_FILE)
        raise error.found_in(str(path) if path.exists() else "the default settings") from None


def _collect_less_garbage() -> None:
    """Keep Python's collector from what it would look through in vain.

    What is here by now stays, and messages make no circles: their memory is freed by itself. With
    the usual thresholds the collector would run several times for each batch of a producer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def _stop(system: System, server: Server) -> None:
    timeout_s = system.config.stop_timeout_ms / 1000
    deadline = time.monotonic() + timeout_s
    server.stop(timeout_s * HTTP_SHARE)
    system.stop(max(deadline - time.monotonic(), 0))


def _watch(system: System, server: Server, stop: threading.Event) -> str | None:
    """Wait until the broker is to stop; return why it must where it cannot go on."""
    # With a timeout, since on Windows a wait without one does not let Ctrl-C through.
    while not stop.wait(WATCH_S):
        if dead := system.dead_actors():
            return f"the actor '{dead[0]}' has died"
        if not server.is_alive():
            return "the HTTP server has died"
    return None


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)  # The logs cope: the next start recovers.
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, handle)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # What an actor raises goes to its asker, who answers for it; pykka logs it all the same.
    logging.getLogger("pykka").setLevel(logging.WARNING)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pandaq.web",
        description="Run a Panda-Q broker.",
        epilog="Settings come from the command line, the environment (BROKER_ID, "
        "DATA_STORAGE_VOLUME, INGRESS_LOG_FILE, PORT), a .env file, the config file, "
        "and the defaults, in this order.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="JSON or YAML (default: conf/pandaq-config.json, where it exists)",
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", help="port to listen on, 0 for any free one (default: 3000)")
    parser.add_argument("--data", metavar="DIR", help="data directory (default: ./pandaq-data)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
