"""The client library of Panda-Q: produce messages, consume them, commit what was handled.

    from pandaq_sdk import Consumer, Producer

    with Producer("broker_1", "http://localhost:3000", "orders") as producer:
        producer.produce({"messageId": "msg-001", "content": {"orderId": "123", "amount": 99.99}})

    with Consumer("http://localhost:3000", "broker_1", "consumer-1", "orders") as consumer:
        for message in consumer:
            print(message.offset, message.content)

    with GroupConsumer(
        "http://localhost:3000", "broker_1", "worker-1", "orders", group="billing"
    ) as consumer:
        for message in consumer:  # of its share of the partitions
            print(message.partition_id, message.offset, message.content)

Delivery is at least once: whoever handles a message must bear to see it again.
Everything raised on purpose is a `PandaqSdkError`, or a `ValueError` for an argument that
cannot be right.
"""

from pandaq_sdk.batch import Batch, Message
from pandaq_sdk.connection import ConnectionOptions
from pandaq_sdk.consumer import Consumer
from pandaq_sdk.errors import (
    BrokerError,
    BufferFull,
    ClientClosed,
    ConnectionFailed,
    FlushTimedOut,
    Forbidden,
    InvalidOffset,
    InvalidRequest,
    NoPartitionAvailable,
    NotAssigned,
    NotEncodable,
    NotFound,
    OutcomeUnknown,
    PandaqSdkError,
    PayloadTooLarge,
    SendBufferFull,
    SenderStopped,
    StorageFull,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from pandaq_sdk.group_consumer import GroupConsumer
from pandaq_sdk.group_message import GroupMessage
from pandaq_sdk.producer import Producer
from pandaq_sdk.receipt import Committed, Produced, ProducedBatch, Refused, Registered

__all__ = [
    "Batch",
    "BrokerError",
    "BufferFull",
    "ClientClosed",
    "Committed",
    "ConnectionFailed",
    "ConnectionOptions",
    "Consumer",
    "FlushTimedOut",
    "Forbidden",
    "GroupConsumer",
    "GroupMessage",
    "InvalidOffset",
    "InvalidRequest",
    "Message",
    "NoPartitionAvailable",
    "NotAssigned",
    "NotEncodable",
    "NotFound",
    "OutcomeUnknown",
    "PandaqSdkError",
    "PayloadTooLarge",
    "Produced",
    "ProducedBatch",
    "Producer",
    "Refused",
    "Registered",
    "SendBufferFull",
    "SenderStopped",
    "StorageFull",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
]
