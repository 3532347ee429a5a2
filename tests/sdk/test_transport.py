"""What requests look like on the wire, and what they take from the environment."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from pandaq_sdk.transport import Transport
from tests.sdk.fake_broker import FakeBroker, Reply

TIMEOUT_S = (10.0, 10.0)


@pytest.fixture
def transport(broker: FakeBroker) -> Iterator[Transport]:
    transport = Transport(broker.url, None)
    yield transport
    transport.close()


def get(transport: Transport, path: str = "/stats") -> int:
    return transport.send("GET", path, None, TIMEOUT_S).status


def test_every_request_has_its_own_body(broker: FakeBroker, transport: Transport) -> None:
    for body in (b"1", b"", b'{"longer": true}'):
        transport.send("POST", "/health", body, TIMEOUT_S)
    get(transport, "/health")
    assert [request.body for request in broker.requests] == [b"1", b"", b'{"longer": true}', b""]
    assert [request.headers.get("Content-Length") for request in broker.requests] == [
        *("1", "0", "16"),
        None,
    ]


def test_headers_are_the_same_in_each_request(broker: FakeBroker, transport: Transport) -> None:
    for _ in range(2):
        transport.send("POST", "/health", b"{}", TIMEOUT_S)
    first, second = (request.headers for request in broker.requests)
    assert first == second
    assert first["Accept"] == first["Content-Type"] == "application/json"
    assert "gzip" in first["Accept-Encoding"]
    assert first["User-Agent"].startswith("python-requests/")


def test_more_paths_than_are_remembered_are_sent_rightly(
    broker: FakeBroker, transport: Transport
) -> None:
    paths = [f"/consume/b/t/{n}" for n in range(200)]
    for path in paths:
        get(transport, path)
    assert [request.target for request in broker.requests] == paths
    assert len(transport._templates) < len(paths)


def test_cookies_are_kept_and_replaced(broker: FakeBroker, transport: Transport) -> None:
    # As balancers set them, to send a client to the same place again.
    broker.script(
        Reply(200, b"", {"Set-Cookie": "node=a; Path=/"}),
        Reply(200, b"", {"Set-Cookie": "node=b; Path=/"}),
    )
    for _ in range(4):
        get(transport)
    cookies = [request.headers.get("Cookie") for request in broker.requests]
    assert cookies == [None, "node=a", "node=b", "node=b"]


def test_a_cookie_that_was_taken_back_is_not_sent_any_more(
    broker: FakeBroker, transport: Transport
) -> None:
    broker.script(
        Reply(200, b"", {"Set-Cookie": "node=a; Path=/"}),
        Reply(200, b"", {"Set-Cookie": "node=a; Path=/; Max-Age=0"}),
    )
    for path in ("/health", "/stats", "/stats"):
        get(transport, path)
    cookies = [request.headers.get("Cookie") for request in broker.requests]
    assert cookies == [None, "node=a", None]


def test_a_proxy_of_the_environment_is_used(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", broker.url)
    monkeypatch.delenv("http_proxy", raising=False)
    transport = Transport("http://broker.invalid:3000", None)
    assert [get(transport), get(transport)] == [404, 404]
    transport.close()
    targets = [request.target for request in broker.requests]
    assert targets == ["http://broker.invalid:3000/stats"] * 2


def test_a_host_that_needs_no_proxy_is_asked_directly(
    broker: FakeBroker, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    get(transport)
    assert broker.requests[0].target == "/stats"


def test_a_netrc_is_read_for_every_path(
    broker: FakeBroker, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for path in ("/stats", "/stats", "/health"):
        get(transport, path)
    expected = "Basic " + base64.b64encode(b"anna:s3cret").decode()
    assert [request.headers["Authorization"] for request in broker.requests] == [expected] * 3


def test_the_certificates_of_the_environment_are_used(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/our-own.pem")
    get(transport)
    assert transport._verify == "/etc/our-own.pem"
