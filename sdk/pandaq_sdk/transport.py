"""How a request gets on the wire: one session, and what its requests share worked out once."""

from collections.abc import Mapping
from typing import NamedTuple

import requests
from requests.auth import AuthBase

_TEMPLATES_MAX = 64
_PIECE_BYTES = 1 << 20


class HttpAnswer(NamedTuple):
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Requests to one URL over kept-alive sockets; for one thread, no I/O until the first.

    Preparing a request costs `requests` more than sending it: it parses the URL, merges headers,
    and looks for proxies, certificates and a `.netrc`. Here each path is prepared once, which is
    when `.netrc` is read; `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` count as they are at the first request.
    """

    def __init__(self, base_url: str, auth: AuthBase | None) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.auth = auth
        self._session.headers["Accept"] = "application/json"
        self._templates: dict[tuple[str, str, bool], requests.PreparedRequest] = {}

    def send(
        self, method: str, path: str, body: bytes | None, timeout_s: tuple[float, float]
    ) -> HttpAnswer:
        """Send one request, `body` as JSON, and return its answer, read to its end.

        `timeout_s` is for connecting and for each silence of the answer. A redirect is returned
        as it is: followed, a POST would become a GET without its body. Raises
        `requests.exceptions.RequestException`.
        """
        key = (method, path, body is None)
        template = self._templates.get(key) or self._prepared(key)
        response = self._session.send(
            self._filled(template, body),
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
            verify=self._verify,
            cert=self._session.cert,
            proxies=self._proxies,
        )
        with response:
            # By itself, it would read pieces of 10 KiB.
            content = b"".join(response.iter_content(_PIECE_BYTES))
        return HttpAnswer(response.status_code, response.headers, content)

    def close(self) -> None:
        """Close the sockets."""
        self._session.close()

    def _prepared(self, key: tuple[str, str, bool]) -> requests.PreparedRequest:
        method, path, bodiless = key
        if not self._templates:
            settings = self._session.merge_environment_settings(
                self._base_url, {}, None, None, None
            )
            self._verify = settings["verify"]
            self._proxies = settings["proxies"]
        if len(self._templates) >= _TEMPLATES_MAX:
            self._templates.clear()
        headers = None if bodiless else {"Content-Type": "application/json"}
        request = requests.Request(method, self._base_url + path, headers=headers)
        template = self._session.prepare_request(request)
        template.headers.pop("Cookie", None)  # those of the moment are added by each request
        self._templates[key] = template
        return template

    def _filled(
        self, template: requests.PreparedRequest, body: bytes | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = template.method
        request.url = template.url
        request.headers = template.headers.copy()
        if body is not None:
            request.body = body
            request.headers["Content-Length"] = str(len(body))
        request.prepare_cookies(self._session.cookies)
        return request
