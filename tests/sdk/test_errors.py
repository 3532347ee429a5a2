"""The tree of errors."""

import pickle

import pytest

from pandaq_sdk import errors


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_REQUEST", errors.InvalidRequest),
        (400, "INVALID_OFFSET", errors.InvalidOffset),
        (401, "UNAUTHENTICATED", errors.Unauthenticated),
        (403, "FORBIDDEN", errors.Forbidden),
        (404, "NOT_FOUND", errors.NotFound),
        (404, "BROKER_NOT_FOUND", errors.NotFound),
        (404, "TOPIC_NOT_FOUND", errors.NotFound),
        (404, "PARTITION_NOT_FOUND", errors.NotFound),
        (404, "CONSUMER_NOT_FOUND", errors.NotFound),
        (405, "METHOD_NOT_ALLOWED", errors.BrokerError),
        (409, "NO_PARTITION_AVAILABLE", errors.NoPartitionAvailable),
        (409, "NOT_ASSIGNED", errors.NotAssigned),
        (413, "PAYLOAD_TOO_LARGE", errors.PayloadTooLarge),
        (415, "UNSUPPORTED_MEDIA_TYPE", errors.BrokerError),
        (429, "BUFFER_FULL", errors.BufferFull),
        (500, "INTERNAL_ERROR", errors.BrokerError),
        (503, "SHUTTING_DOWN", errors.Unavailable),
        (503, "STORAGE_FAILED", errors.Unavailable),
        (503, "TIMEOUT", errors.OutcomeUnknown),
        (507, "STORAGE_FULL", errors.StorageFull),
        (404, "A_CODE_OF_A_NEWER_BROKER", errors.NotFound),
        (409, "A_CODE_OF_A_NEWER_BROKER", errors.BrokerError),
    ],
)
def test_every_refusal_has_its_error(
    status: int, code: str, kind: type[errors.BrokerError]
) -> None:
    error = errors.broker_error(status, code, "a sentence")
    assert type(error) is kind
    assert (error.status, error.error_code, error.message) == (status, code, "a sentence")
    assert str(error) == f"a sentence ({status} {code})"


def test_errors_survive_the_way_between_processes() -> None:
    for error in (
        errors.broker_error(409, "NOT_ASSIGNED", "a sentence"),
        errors.NotEncodable("message", "a reason"),
        errors.ConnectionFailed("GET /stats", 2, TimeoutError("slow")),
        errors.UnexpectedAnswer("GET /stats", 502, "a reason"),
        errors.ClientClosed(),
        errors.SendBufferFull(7, 700, 30.0),
        errors.FlushTimedOut(7, 1.5),
        errors.SenderStopped("a reason"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
