"""What every candidate is given: keys, tokens, a GeoIP database, the request and the upstream's answer. Real ones, made for the run."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.processes import Command, free_port
from tests.fixtures import mmdb
from tests.fixtures.idp import IdentityProvider

ISSUER = "https://idp.example"
AUDIENCE = "frontier-gate"
MODEL = "openai/gpt-frontier"
SUBJECT = "user-1"
PRINCIPAL = f"{ISSUER}|{SUBJECT}"
ABROAD = "127.0.0.2"  # an address that the database places in China
_LIFE = 86_400


class World:
    """A folder with everything in it. `port` is the upstream's; `request` is what each caller sends, `answer` what each gets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.idp = IdentityProvider(ISSUER, AUDIENCE)
        self.idp.add_key("bench")
        self.idp.write_jwks(directory / "jwks.json")
        networks = {"127.0.0.0/8": "US", f"{ABROAD}/32": "CN", "203.0.113.0/24": "CN", "198.51.100.0/24": "GB", "192.0.2.0/24": "US"}
        self.database = mmdb.country(directory / "country.mmdb", networks)
        self.token = self.token_of(SUBJECT, ["US"], us_person=True)
        self.foreign = self.token_of("user-2", ["CN"], us_person=False)
        self.tampered = self._tampered()
        self.request = self.request_of(90)
        self.answer = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": MODEL,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 300}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
            }
        ).encode()

    def token_of(self, subject: str, nationalities: list[str], *, us_person: bool) -> str:
        """A good RS256 token that lasts for the whole run."""
        now = time.time()
        claims: dict[str, Any] = {"sub": subject, "exp": int(now) + _LIFE, "nationalities": nationalities, "us_person": us_person}
        return self.idp.token(now, **claims).decode()

    def _tampered(self) -> str:
        """The foreign token's claims made those of a US person, under the signature of the original."""
        header, _, signature = self.foreign.split(".")
        return f"{header}.{self.token.split('.')[1]}.{signature}"

    @staticmethod
    def request_of(size: int, *, stream: bool = False) -> bytes:
        """A chat completion's body whose last message has `size` characters."""
        messages = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "y" * size}]
        body = {"model": MODEL, "messages": messages, "temperature": 0.2, "max_tokens": 64}
        return json.dumps({**body, "stream": True} if stream else body, separators=(",", ":")).encode()

    def bearer(self, token: str | None = None) -> Mapping[str, str]:
        """The header that a caller presents, by default the good one's."""
        return {"authorization": f"Bearer {token or self.token}"}

    def upstream(self) -> Command:
        """An nginx that gives the fixed answer to whatever it is asked."""
        text = f"""worker_processes 1; daemon off; pid {self.directory}/upstream.pid; error_log {self.directory}/upstream.err;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 64m;
server {{ listen 127.0.0.1:{self.port} backlog=4096;
location / {{ default_type application/json; return 200 '{self.answer.decode()}'; }} }} }}
"""
        path = self.directory / "upstream.conf"
        path.write_text(text)
        return Command(("nginx", "-c", str(path)))
