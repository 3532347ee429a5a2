"""The least that Bottle and waitress do: decode a message and answer with it, as it came.

`python -m bench.echo THREADS` listens on a free port and says on stderr which; it keeps nothing.
"""

import logging
import socket
import sys
from typing import Final

import bottle
import msgspec
from waitress.server import create_server

from bench.servers import LOOPBACK
from pandaq.web.payloads import AppendBody

BACKLOG: Final = 1024
_decoder = msgspec.json.Decoder(AppendBody)


def echo_app() -> bottle.Bottle:
    """Return the app; it takes the bodies of `POST /ingress/{topicId}`."""
    app = bottle.Bottle()

    @app.post("/ingress/<topic_id>")  # type: ignore[untyped-decorator]  # Bottle has no types
    def echo(topic_id: str) -> bytes:  # noqa: ARG001 (a part of the path)
        body: bytes = bottle.request.body.read()
        _decoder.decode(body)
        bottle.response.content_type = "application/json"
        return body

    return app


def main(threads: int) -> None:
    """Serve until the process is ended."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    with socket.create_server((LOOPBACK, 0), backlog=BACKLOG) as listening:
        server = create_server(echo_app(), sockets=[listening], threads=threads)
        port = listening.getsockname()[1]
        print(f"listens on http://{LOOPBACK}:{port}", file=sys.stderr, flush=True)
        server.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
