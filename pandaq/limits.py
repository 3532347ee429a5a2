"""What may be appended: which messages, how large, and how many at once."""

from collections.abc import Sequence

from pandaq.config import Config
from pandaq.content import are_contents, check_content
from pandaq.errors import InvalidRequest, PayloadTooLarge
from pandaq.ids import are_message_ids, check_message_id, shown
from pandaq.message import Message


def check_messages(messages: Sequence[Message], config: Config) -> None:
    """Raise unless `messages` may be appended in one go: `InvalidRequest`, `PayloadTooLarge`.

    >>> check_messages([Message.of("msg-001", "long")], Config(max_message_bytes=5))
    Traceback (most recent call last):
    pandaq.errors.PayloadTooLarge: the content of message 0 (messageId 'msg-001') has 6 bytes and...
    """
    if not messages:
        raise InvalidRequest("there is no message; send at least one")
    count, most = len(messages), config.max_batch_messages
    if count > most:
        raise PayloadTooLarge("the batch", count, most, "maxBatchMessages", "messages")
    if _are_plain(messages, config):
        return
    for number, message in enumerate(messages):
        size, limit = len(message.content), config.max_message_bytes
        if size > limit:
            what = f"the content of message {number} (messageId {shown(message.message_id)})"
            raise PayloadTooLarge(what, size, limit, "maxMessageBytes")
        try:
            check_message_id(message.message_id)
            check_content(message.content)
        except InvalidRequest as error:
            where = f"message {number}: " if count > 1 else ""
            raise InvalidRequest(f"{where}{error}") from None


def _are_plain(messages: Sequence[Message], config: Config) -> bool:
    """Tell quickly that nothing is wrong with any of them; False says nothing.

    Looking at all of them at once costs a fifth of looking at each.
    """
    ids = [message.message_id for message in messages]
    contents = [message.content for message in messages]
    return (
        are_message_ids(ids)
        and max(map(len, contents)) <= config.max_message_bytes
        and are_contents(contents)
    )
