"""What may be appended: which messages, how large, and how many at once."""

from collections.abc import Sequence

from pandaq.config import Config
from pandaq.content import MAX_NESTING, are_contents, check_content
from pandaq.errors import InvalidRequest, PayloadTooLarge
from pandaq.ids import are_message_ids, check_message_id, shown


def check_messages(
    ids: Sequence[str], contents: list[bytes], config: Config, *, are_json: bool = False
) -> None:
    """Raise unless messages may be appended in one go: `InvalidRequest`, `PayloadTooLarge`.

    `are_json` says that a decoder has found the contents to be JSON.

    >>> check_messages(["msg-001"], [b'"long"'], Config(max_message_bytes=5))
    Traceback (most recent call last):
    pandaq.errors.PayloadTooLarge: the content of message 0 (messageId 'msg-001') has 6 bytes and...
    """
    if not ids:
        raise InvalidRequest("there is no message; send at least one")
    count, most = len(ids), config.max_batch_messages
    if count > most:
        raise PayloadTooLarge("the batch", count, most, "maxBatchMessages", "messages")
    # Looking at all of them at once costs a fifth of looking at each.
    longest = max(map(len, contents))
    is_short = longest <= min(config.max_message_bytes, MAX_NESTING)
    if is_short and are_message_ids(ids) and (are_json or are_contents(contents)):
        return
    for number, (message_id, content) in enumerate(zip(ids, contents, strict=True)):
        size, limit = len(content), config.max_message_bytes
        if size > limit:
            what = f"the content of message {number} (messageId {shown(message_id)})"
            raise PayloadTooLarge(what, size, limit, "maxMessageBytes")
        try:
            check_message_id(message_id)
            check_content(content, is_json=are_json)
        except InvalidRequest as error:
            where = f"message {number}: " if count > 1 else ""
            raise InvalidRequest(f"{where}{error}") from None
