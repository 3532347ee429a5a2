"""Messages as tests write them."""

from pandaq.message import Message
from pandaq.records import encode_payloads


def encoded(message: Message) -> bytes:
    """Return the payload of one message."""
    (payload,) = encode_payloads([message.message_id], [message.content])
    return payload
