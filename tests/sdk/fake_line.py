"""A broker's end of a line, without HTTP: takes batches, or answers as a test scripts it."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from pandaq_sdk.envelope import Answer
from pandaq_sdk.errors import broker_error
from tests.sdk.fake_broker import DEADLINE_S, TIMESTAMP

BAD = "bad"
"""A content for which the broker refuses the whole batch."""

Step = BaseException | Callable[[], object]


class FakeLine:
    """Appends contents to `log`; `requests` is what came in. A scripted step is used up first.

    A step that is an error is raised; another one is called before the request is carried out.
    While it is `paused`, requests come in and wait.
    """

    def __init__(self) -> None:
        self.requests: list[list[Any]] = []
        self.log: list[Any] = []
        self.steps: deque[Step | None] = deque()
        self.closed = False
        self.came = threading.Semaphore(0)
        self._goes = threading.Event()
        self._goes.set()

    def pause(self) -> None:
        self._goes.clear()

    def resume(self) -> None:
        self._goes.set()

    def wait_for_request(self) -> None:
        assert self.came.acquire(timeout=DEADLINE_S)

    def append(self, messages: Iterable[bytes]) -> Answer:
        contents = [json.loads(each)["content"] for each in messages]
        self.requests.append(contents)
        self.came.release()
        assert self._goes.wait(DEADLINE_S)
        step = self.steps.popleft() if self.steps else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step()
        if BAD in contents:
            raise broker_error(400, "INVALID_REQUEST", "one of them is bad")
        self.log += contents
        data = {"count": len(contents), "topicId": "orders", "timestamp": TIMESTAMP}
        return Answer("POST /ingress/orders", 200, json.dumps(data).encode())

    def close(self) -> None:
        self.closed = True
