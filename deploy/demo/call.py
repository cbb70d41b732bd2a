"""A caller's request: the curl line that makes it, and the same request made."""

import http.client
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

_PATIENCE = 20.0  # seconds
_JSON = {"Content-Type": "application/json"}
MESSAGES = [{"role": "user", "content": "Hello"}]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One POST to the data port. `bearer` is the name of the variable that holds it; `body` is sent exactly as it is."""

    bearer: str
    body: str
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = {}
    source: str | None = None  # the address to call from

    def curl(self) -> list[str]:
        """The words of a line for a shell that has the stage's variables."""
        source = [] if self.source is None else [f"--interface {self.source}"]
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in {**_JSON, **self.headers}.items()]
        target = [f'"$GATE{self.path}"', f'-H "Authorization: Bearer ${self.bearer}"']
        return ["curl -si", *source, *target, *headers, f"-d {shlex.quote(self.body)}"]

    @contextmanager
    def made(self, variables: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """The answer; its head is read, its body not yet. Raises OSError and http.client.HTTPException."""
        source = None if self.source is None else (self.source, 0)
        connection = http.client.HTTPConnection(urlsplit(variables["GATE"]).netloc, timeout=_PATIENCE, source_address=source)
        try:
            headers = {"Authorization": f"Bearer {variables[self.bearer]}", **_JSON, **self.headers}
            connection.request("POST", self.path, self.body, headers)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()


def chat(model: str) -> str:
    """The body of an ordinary request."""
    return json.dumps({"model": model, "messages": MESSAGES})


class Reply:
    """An answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.phrase = response.reason
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body: dict[str, Any] = json.loads(response.read())

    @property
    def reason(self) -> str | None:
        """The gate's reason, where it refused."""
        return self.headers.get("x-gate-reason")

    @property
    def order(self) -> str | None:
        """The reference of the order that decided."""
        reference: str | None = self.body.get("frontier_gate", {}).get("order", {}).get("reference")
        return reference

    @property
    def text(self) -> str:
        """What people read of it: the model's words, or the error's message."""
        match self.body:
            case {"error": {"message": str(message)}} | {"choices": [{"message": {"content": str(message)}}]}:
                return message
            case {"content": [{"text": str(message)}]}:
                return message
        return json.dumps(self.body)
