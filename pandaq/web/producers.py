"""The routes that producers call."""

from typing import Any

import msgspec

from pandaq.actors.system import System
from pandaq.errors import InvalidRequest
from pandaq.message import Message
from pandaq.web.answer import Later
from pandaq.web.checks import check_address
from pandaq.web.payloads import AppendBody, message_of, timestamp
from pandaq.web.request import Request

_append = msgspec.json.Decoder(AppendBody)


def append(system: System, request: Request, topic_id: str) -> Later:
    """`POST /ingress/{topicId}`: append one message, or several, all or none."""
    body = request.decode(_append)
    check_address(system, body.broker_id, topic_id)
    messages = _messages(body, topic_id)
    reply = system.begin_append(topic_id, messages)
    if body.messages is msgspec.UNSET:
        head: dict[str, Any] = {"messageId": messages[0].message_id}
    else:
        head = {"count": len(messages)}
    return Later(reply, lambda _: head | {"topicId": topic_id, "timestamp": timestamp()})


def _messages(body: AppendBody, topic_id: str) -> list[Message]:
    if isinstance(body.messages, msgspec.UnsetType):
        if isinstance(body.message, msgspec.UnsetType):
            raise InvalidRequest("message is missing; send message, or messages for several")
        return [message_of(body.message, topic_id)]
    if not isinstance(body.message, msgspec.UnsetType):
        raise InvalidRequest("both message and messages are given; send one of them")
    return [message_of(each, topic_id) for each in body.messages]
