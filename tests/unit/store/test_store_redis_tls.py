"""Redis behind TLS: only the right certificates, on both sides; and what is told of the others."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_contract import append, directive, until_changed, with_store

from frontiergate.errors import StoreUnavailable
from frontiergate.store.protocol import DirectiveAdded, Store
from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer
from tests.unit.gate.gate_certificates import Authority


def failure(url: str) -> str:
    """What the store says when it cannot be opened."""

    async def main() -> str:
        store = open_store(url)
        with pytest.raises(StoreUnavailable) as caught:
            await store.open()
        await store.close()
        return str(caught.value)

    return asyncio.run(main())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def tls_server(authority: Authority, tmp_path: Path) -> Iterator[RedisServer]:
    certificate, key = authority.issues("127.0.0.1")
    server = RedisServer(tmp_path / "tls", tls_cert_file=certificate, tls_key_file=key, tls_ca_cert_file=authority.path)
    server._settings |= {"tls-port": str(server.port), "port": "0"}
    try:
        server.start()
    except AssertionError:
        if "REDIS_SERVER" in os.environ:
            pytest.skip("this server is built without TLS")
        raise
    yield server
    server.kill()


def test_a_server_with_a_certificate_of_the_named_authority_is_trusted(tls_server: RedisServer, authority: Authority) -> None:
    certificate, key = authority.issues("gate")
    url = f"rediss://127.0.0.1:{tls_server.port}?ca={authority.path}&certificate={certificate}&key={key}"

    async def story(store: Store) -> None:
        assert (await append(store, DirectiveAdded(directive("a")))).epoch == 1
        await store.changed()
        await until_changed(store, True)

    with_store(lambda: open_store(url), story)


def test_what_is_not_signed_so_or_speaks_no_tls_is_not(tls_server: RedisServer, authority: Authority, tmp_path: Path) -> None:
    port = tls_server.port
    other = Authority(tmp_path / "other").path
    for url, said in (
        (f"rediss://127.0.0.1:{port}", "its certificate is not to be trusted; name the authority's file with ?ca=PATH"),
        (f"rediss://127.0.0.1:{port}?ca={other}", "its certificate is not to be trusted"),
        (f"rediss://localhost:{port}?ca={authority.path}", "its certificate is not to be trusted"),
        (f"rediss://127.0.0.1:{port}?ca={tmp_path}/no.pem", "No such file"),
        (f"redis://127.0.0.1:{port}", "whether it wants TLS"),
    ):
        assert said in failure(url)


def test_a_server_that_wants_a_certificate_of_ours_refuses_without(tls_server: RedisServer, authority: Authority) -> None:
    assert "certificate" in failure(f"rediss://127.0.0.1:{tls_server.port}?ca={authority.path}")


def test_a_server_without_tls_is_told(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "plain") as server:
        assert "whether it has TLS" in failure(f"rediss://127.0.0.1:{server.port}?timeout=500ms")
