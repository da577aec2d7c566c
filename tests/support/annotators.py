"""A client of the annotators' server."""

from __future__ import annotations

import http.client
import json

from tests.support.browser import Server

Answer = tuple[int, dict[str, str], bytes]


class Client:
    """Plain requests, so that every header can be wrong."""

    def __init__(self, server: Server, annotator: int | None = None) -> None:
        self.server = server
        self.cookie = ""
        if annotator is not None:
            status, headers, _ = self.get(server.links[annotator].removeprefix(server.origin))
            assert status == 200
            self.set_cookie = headers["set-cookie"]
            self.cookie = self.set_cookie.partition(";")[0]

    def send(self, method: str, path: str, body: bytes | None = None, /, **headers: str | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        given = {"Host": f"127.0.0.1:{self.server.port}", "Cookie": self.cookie}
        given |= {k.replace("_", "-"): v for k, v in headers.items()}  # type: ignore[misc]
        connection.putrequest(method, path, skip_host=True)
        for name, value in given.items():
            if value:
                connection.putheader(name, value)
        if body is not None and "Content-Length" not in given:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, event: object, **headers: str | None) -> Answer:
        about: dict[str, str | None] = {
            "Origin": self.server.origin,
            "Content_Type": "application/json",
            **headers,
        }
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.send("POST", "/event", body, **about)
