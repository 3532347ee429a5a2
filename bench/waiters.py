"""Consumers that wait for messages that never come: `python -m bench.waiters URL TOPIC COUNT`.

Each has a thread, a connection and a partition of its own, and asks again when its wait is over,
as the SDK's loop would: after a pause where the answer came early. Says `ready` when all wait.
"""

import http.client
import sys
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from pandaq.benchmark.load import BROKER_ID

WAIT_MS: Final = 30_000
PAUSE_S: Final = 1.0
SILENCE_S: Final = 2 * WAIT_MS / 1000


def wait_on(address: str, path: str, asked: threading.Semaphore) -> None:
    """Ask again and again; release `asked` after the first time."""
    connection = http.client.HTTPConnection(address, timeout=SILENCE_S)
    is_first = True
    while True:
        begin = time.monotonic()
        connection.request("GET", path)
        if is_first:
            asked.release()
            is_first = False
        connection.getresponse().read()
        if time.monotonic() - begin < WAIT_MS / 1000 / 2:
            time.sleep(PAUSE_S)


def main(url: str, topic_id: str, count: int) -> None:
    """Wait with `count` consumers until the process is ended."""
    asked = threading.Semaphore(0)
    for number in range(count):
        path = f"/consume/{BROKER_ID}/{topic_id}/{number}?b=t&wait={WAIT_MS}"
        arguments = (urlsplit(url).netloc, path, asked)
        threading.Thread(target=wait_on, args=arguments, daemon=True).start()
    for _ in range(count):
        asked.acquire()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
