"""A broker for tests: real HTTP on 127.0.0.1, one partition, and answers that a test can script.

A scripted reply is used up first; without one, the broker answers from its log. Offsets begin
at 1; `read_offset` is 0 before the first commit.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TIMESTAMP = "2026-01-02T03:04:05.678Z"
DEADLINE_S = 10


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What the broker answers, after it did something `meanwhile`; status 0 is no answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None
    silent: bool = False


def success(**data: object) -> Reply:
    return Reply(200, json.dumps({"success": True, "data": data}).encode())


def refusal(status: int, code: str, **headers: str) -> Reply:
    body = {"success": False, "errorCode": code, "error": f"a sentence about {code}"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), named)


HANG_UP = Reply(0)
SILENCE = Reply(0, silent=True)
BREAK_OFF = Reply(200, b'{"succ', {"Content-Length": "100", "Connection": "close"})


class FakeBroker:
    """One topic `orders` with one partition; `requests` is what came in, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: deque[Reply] = deque()
        self.log: list[Any] = []
        self.read_offset = 0
        self.partition_id = 0
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def append(self, contents: Iterable[Any]) -> None:
        self.log.extend(contents)

    def sent_to(self, prefix: str) -> list[Request]:
        return [request for request in self.requests if request.path.startswith(prefix)]

    @property
    def commits(self) -> list[int]:
        return [request.json["offset"] for request in self.sent_to("/commit")]

    def stop(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join(DEADLINE_S)
        self._server.server_close()

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.replies.popleft() if self.replies else self._from_log(request)
        reply.meanwhile()
        if reply.silent:
            self._ended.wait(DEADLINE_S)
        return reply

    def _from_log(self, request: Request) -> Reply:
        match request.path.split("/")[1]:
            case "register":
                return registered(self.partition_id, request.json["consumerId"])
            case "ingress":
                return self._ingress(request.json)
            case "consume":
                return self._consume(request)
            case "commit":
                return self._commit(request.json)
        return refusal(404, "NOT_FOUND")

    def _ingress(self, body: dict[str, Any]) -> Reply:
        if "messages" in body:
            self.append(message["content"] for message in body["messages"])
            return success(count=len(body["messages"]), topicId="orders", timestamp=TIMESTAMP)
        self.append([body["message"]["content"]])
        message_id = str(body["message"]["messageId"])
        return success(messageId=message_id, topicId="orders", timestamp=TIMESTAMP)

    def _consume(self, request: Request) -> Reply:
        single = "b" not in request.query
        limit = 1 if single else int(request.query["max"])
        start = self.read_offset
        batch = [
            message(offset, content)
            for offset, content in enumerate(self.log[start : start + limit], start + 1)
        ]
        return success(
            messages=(batch[0] if batch else None) if single else batch,
            count=len(batch),
            startOffset=start,
            endOffset=start + len(batch),
        )

    def _commit(self, body: dict[str, Any]) -> Reply:
        if not self.read_offset <= body["offset"] <= len(self.log):
            return refusal(400, "INVALID_OFFSET")
        self.read_offset = body["offset"]
        return success(
            committed=True,
            offset=body["offset"],
            topicId=body["topicId"],
            partitionId=body["partitionId"],
            consumerId=body["consumerId"],
            logEndOffset=len(self.log),
            newReadOffset=self.read_offset,
            timestamp=TIMESTAMP,
        )


def registered(partition_id: int, consumer_id: str = "consumer-1") -> Reply:
    return success(
        topicId="orders",
        brokerId="broker_1",
        consumerId=consumer_id,
        partitionId=partition_id,
        timestamp=TIMESTAMP,
    )


def message(offset: int, content: Any) -> dict[str, Any]:
    return {
        "topicId": "orders",
        "messageId": f"msg-{offset}",
        "content": content,
        "offset": offset,
    }


def _handler_of(broker: FakeBroker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = DEADLINE_S

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = broker.answer(
                Request(self.command, self.path, dict(self.headers), body, self.client_address)
            )
            if reply.status == 0:
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
