"""The routes that producers call."""

from collections.abc import Sequence
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
    extras = system.extras_of(messages)
    reply = system.begin_append_texts(topic_id, ids, contents, extras, are_json=True)
    is_single = body.messages is msgspec.UNSET
    head: dict[str, Any] = {"messageId": ids[0]} if is_single else {"count": len(ids)}

    def encode(duplicates: Sequence[int]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if duplicates:
            more = (
                {"duplicate": True} if is_single else {"duplicates": [ids[n] for n in duplicates]}
            )
        return head | {"topicId": topic_id, "timestamp": timestamp()} | more

    return Later(reply, encode)


def _messages(body: AppendBody) -> list[MessageBody]:
    if isinstance(body.messages, msgspec.UnsetType):
        if isinstance(body.message, msgspec.UnsetType):
            raise InvalidRequest("message is missing; send message, or messages for several")
        return [body.message]
    if not isinstance(body.message, msgspec.UnsetType):
        raise InvalidRequest("both message and messages are given; send one of them")
    return body.messages
