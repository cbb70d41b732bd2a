"""The CLI's side of the admin API: one request, one answer, and each failure as one plain sentence with the next step."""

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_URL = "http://127.0.0.1:9090"
TIMEOUT = 30.0  # seconds to connect, and to answer beyond what was asked to wait
LARGEST = 64 << 20  # bytes of an answer


class CommandError(Exception):
    """The command cannot go on. The message is for people; `code` is the exit code; `problem` the last part of the problem's type."""

    def __init__(self, message: str, *, code: int = 1, problem: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.problem = problem


class Answer:
    """A successful answer: its document and its entity tag."""

    def __init__(self, document: dict[str, Any], etag: str | None) -> None:
        self.document = document
        self.etag = etag


class Client:
    """Talks to the control listener at FRONTIERGATE_URL with FRONTIERGATE_TOKEN; a token never stands on the command line."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.url = environ.get("FRONTIERGATE_URL", DEFAULT_URL)
        self._token = environ.get("FRONTIERGATE_TOKEN", "").strip()
        parts = urlsplit(self.url)
        try:
            self._port = parts.port
        except ValueError:
            raise self._bad_url() from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise self._bad_url()
        if not (self._token.isascii() and self._token.isprintable()):
            raise CommandError("FRONTIERGATE_TOKEN has characters that a token cannot have: set it again", code=2)
        self._tls, self._host, self._base = parts.scheme == "https", parts.hostname, parts.path.rstrip("/")

    def get(self, path: str, query: Mapping[str, str] | None = None, *, wait: float = 0.0) -> Answer:
        """GET; `wait` is how long the gate was asked to wait."""
        return self._call("GET", path, query=query, timeout=TIMEOUT + wait)

    def post(self, path: str, body: Mapping[str, object], *, if_match: str | None = None) -> Answer:
        return self._call("POST", path, body=body, headers={} if if_match is None else {"If-Match": if_match})

    def delete(self, path: str, query: Mapping[str, str], if_match: str) -> Answer:
        return self._call("DELETE", path, query=query, headers={"If-Match": if_match})

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        target = self._base + path + (f"?{urlencode(query)}" if query else "")
        sent = {"Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout)
        try:
            connection.request(method, target, content, sent)
            response = connection.getresponse()
            raw = response.read(LARGEST)
        except ConnectionRefusedError:
            raise self._nobody("") from None
        except TimeoutError:
            raise CommandError(f"the gate at {self.url} did not answer in {timeout:.0f} s: is it overloaded? look at /readyz") from None
        except ssl.SSLError as error:
            raise CommandError(f"TLS to {self.url} failed ({error.reason}): check the URL, or set SSL_CERT_FILE to its CA") from None
        except http.client.HTTPException:
            raise self._no_gate() from None
        except OSError as error:
            raise self._nobody(f" ({error.strerror or error})") from None
        finally:
            connection.close()
        return self._read(response, raw)

    def _read(self, response: http.client.HTTPResponse, raw: bytes) -> Answer:
        try:
            document = json.loads(raw)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self._no_gate()
        if response.status < 300:
            return Answer(document, response.headers.get("ETag"))
        if response.status == 401 and not self._token:
            raise CommandError(f"the gate at {self.url} asks for a token: set FRONTIERGATE_TOKEN to an operator's token")
        detail, kind = document.get("detail"), str(document.get("type", ""))
        if not isinstance(detail, str):
            raise self._no_gate()
        raise CommandError(detail, problem=kind.rpartition("#")[2])

    def _bad_url(self) -> CommandError:
        return CommandError(f"FRONTIERGATE_URL is not a URL: {self.url!r}; write for example {DEFAULT_URL}", code=2)

    def _nobody(self, why: str) -> CommandError:
        return CommandError(
            f"no gate answers at {self.url}{why}: is it running? start one with frontiergate serve --config FILE,"
            " or set FRONTIERGATE_URL to its control listener"
        )

    def _no_gate(self) -> CommandError:
        return CommandError(f"{self.url} does not answer like a gate's control listener: check FRONTIERGATE_URL (is it the data port?)")


def segment(text: str) -> str:
    """`text` as one segment of a path; slashes in model ids are encoded."""
    return quote(text, safe="")
