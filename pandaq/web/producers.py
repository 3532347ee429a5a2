"""The routes that producers call."""

from typing import Any

import msgspec

from pandaq.actors.system import System
from pandaq.errors import InvalidRequest
from pandaq.web.answer import Later
from pandaq.web.checks import check_address
from pandaq.web.payloads import AppendBody, MessageBody, check_topic_ids, timestamp
from pandaq.web.request import Request

_append = msgspec.json.Decoder(AppendBody)


def append(system: System, request: Request, topic_id: str) -> Later:
    """`POST /ingress/{topicId}`: append one message, or several, all or none."""
    body = request.decode(_append)
    check_address(system, body.broker_id, topic_id)
    messages = _messages(body)
    check_topic_ids(messages, topic_id)
    ids = [str(each.message_id) for each in messages]
    contents = [bytes(each.content) for each in messages]
    reply = system.begin_append_texts(topic_id, ids, contents, are_json=True)
    if body.messages is msgspec.UNSET:
        head: dict[str, Any] = {"messageId": ids[0]}
    else:
        head = {"count": len(ids)}
    return Later(reply, lambda _: head | {"topicId": topic_id, "timestamp": timestamp()})


def _messages(body: AppendBody) -> list[MessageBody]:
    if isinstance(body.messages, msgspec.UnsetType):
        if isinstance(body.message, msgspec.UnsetType):
            raise InvalidRequest("message is missing; send message, or messages for several")
        return [body.message]
    if not isinstance(body.message, msgspec.UnsetType):
        raise InvalidRequest("both message and messages are given; send one of them")
    return body.messages
