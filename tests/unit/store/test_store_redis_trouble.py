"""What can be wrong with a Redis server, or with what the URL says of it: a clear error within the timeout, never a secret in it."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from store_contract import append, directive, grant, pause, report, until_changed, with_store

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.protocol import DirectiveAdded, GrantIssued, ModelPaused, Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.registry import open_store
from tests.fixtures.gate import free_port
from tests.fixtures.redis import RedisServer, eventually, in_step

SECRET = "open-sesame-0123456789"
PAGE = (Path(__file__).parents[3] / "docs/how-to/share-a-store.md").read_text("utf-8")
PERMISSIONS = PAGE.partition("ACL SETUSER gate ")[2].partition("```")[0].replace("PASSWORD", SECRET).split()  # as documented


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        server.call("ACL", "SETUSER", "gate", *PERMISSIONS, "+select")
        server.call("ACL", "SETUSER", "default", "resetpass", ">for-the-tests")
        call = server.call
        server.call = lambda *command: call(*command, password="for-the-tests")  # type: ignore[method-assign]
        yield server


@contextlib.contextmanager
def user(server: RedisServer, *changes: str) -> Iterator[None]:
    """The user `gate`, with other permissions for a while."""
    (before,) = [line for line in server.call("ACL", "LIST") if line.startswith("user gate ")]
    server.call("ACL", "SETUSER", "gate", *changes)
    try:
        yield
    finally:
        server.call("ACL", "SETUSER", "gate", "reset", *before.split()[2:])


def at(server: RedisServer, **parameters: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in ({"password_env": "P"} | parameters).items())
    return f"redis://gate@127.0.0.1:{server.port}?{query}"


def failure(url: str, **environ: str) -> str:
    """What the store says when it cannot be opened."""

    async def main() -> str:
        store = open_store(url, environ=environ)
        with pytest.raises(StoreUnavailable) as caught:
            await store.open()
        await store.close()
        return str(caught.value)

    said = asyncio.run(main())
    assert SECRET not in said
    return said


async def nothing(_: Store) -> None: ...


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """A server that says `answer` to whatever comes first, or closes at once."""

    serving = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        if answer is not None:
            with contextlib.suppress(OSError):
                while await reader.read(4096):
                    writer.write(answer)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?timeout=500ms"
        await asyncio.gather(*serving)


def test_a_password_comes_from_the_environment_or_a_file_and_may_change(server: RedisServer, tmp_path: Path) -> None:
    with_store(lambda: open_store(at(server), environ={"P": SECRET}), nothing)
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")

    async def story(store: Store) -> None:
        await store.head()
        with user(server, "resetpass", ">another-one"):
            server.call("CLIENT", "KILL", "USER", "gate")
            with pytest.raises(StoreUnavailable, match="does not accept the user or the password"):
                await store.head()
            file.write_text("another-one")
            await store.head()

    url = f"redis://gate@127.0.0.1:{server.port}?password_file={file}"
    with_store(lambda: open_store(url), story)


@pytest.mark.parametrize(
    ("url", "environ", "said"),
    [
        ("gate@{}?password_env=P", {"P": "wrong"}, "does not accept the user or the password; correct the URL's user"),
        ("nobody@{}?password_env=P", {"P": SECRET}, "does not accept the user or the password"),
        ("{}?password_env=P", {"P": SECRET}, "does not accept the user or the password"),
        ("{}", {}, "it wants a password; name where it is, with ?password_env=NAME"),
        ("gate@{}", {}, "does not accept the user or the password"),
        ("gate@{}?password_env=P", {}, "the environment variable P is not set; set it to the secret"),
        ("gate@{}?password_file=/no/file", {}, "the file /no/file cannot be read"),
        ("gate@{}/99?password_env=P", {"P": SECRET}, "it answers with an error (DB index is out of range)"),
    ],
)
def test_a_wrong_password_is_told_and_never_shown(server: RedisServer, url: str, environ: dict[str, str], said: str) -> None:
    assert said in failure(f"redis://{url.format(f'127.0.0.1:{server.port}')}", **environ)


@pytest.mark.parametrize("missing", ["-xadd", "-zadd", "-evalsha", "-time", "-hgetall", "-sadd", "-hlen", "-rpush"])
def test_a_permission_that_is_missing_is_told_before_anything_is_written(server: RedisServer, missing: str) -> None:
    with user(server, *missing.split()):
        if missing == "-hgetall":  # needed to read only: opening succeeds, and reading says what is missing

            async def story(store: Store) -> None:
                with pytest.raises(StoreUnavailable, match="lacks a permission; grant it as docs/how-to/share-a-store"):
                    await store.state()

            with_store(lambda: open_store(at(server, prefix="frontiergate"), environ={"P": SECRET}), story)
        else:
            server.call("DEL", "{frontiergate}:meta")
            assert "lacks a permission; grant it as docs/how-to/share-a-store.md" in failure(at(server), P=SECRET)
            assert server.call("EXISTS", "{frontiergate}:meta", "{frontiergate}:log") == 0


def test_keys_that_the_user_may_not_touch_are_told(server: RedisServer) -> None:
    assert "lacks a permission" in failure(at(server, prefix="elsewhere"), P=SECRET)


def test_without_the_channel_changes_are_looked_for_more_often(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0

    async def story(store: Store) -> None:
        nonlocal now
        await store.changed()
        async with asyncio.timeout(10):
            while "nobody subscribe" not in caplog.text:
                await store.head()
        await until_changed(store, False)
        now += 0.1
        assert await store.changed()
        await append(store, DirectiveAdded(directive(f"d{time.time()}")))

    def connect() -> Store:
        store = open_store(at(server), environ={"P": SECRET})
        assert isinstance(store, RedisStore)
        store._monotonic = lambda: now
        return store

    with user(server, "resetchannels"), caplog.at_level(logging.WARNING):
        with_store(connect, story)
    assert len([message for message in caplog.messages if "nobody subscribe" in message]) == 1


def test_a_server_that_does_not_tell_its_settings_is_said_to_be_so(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        with user(server, "-config"):
            with_store(lambda: open_store(at(server), environ={"P": SECRET}), nothing)
        assert [re.sub("^.*: it", "it", message) for message in caplog.messages] == [
            "it does not tell appendfsync: see that they are yes, always and noeviction, or permit +config|get and +info"
        ]
        caplog.clear()
        with user(server, "-config", "-info"):
            with_store(lambda: open_store(at(server), environ={"P": SECRET}), nothing)
        assert "it does not tell appendonly, appendfsync, maxmemory-policy: see that" in caplog.text


def test_waiting_for_replicas_needs_to_see_them(server: RedisServer) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(StoreUnavailable, match=r"wait and waitaof need INFO, to see the replicas; permit \+info"):
            await store.position()

    with user(server, "-info"):
        with_store(lambda: open_store(at(server, wait="1"), environ={"P": SECRET}), story)


def test_nobody_at_the_port_is_told() -> None:
    assert "cannot be reached; check that it runs, the host and the port" in failure(f"redis://127.0.0.1:{free_port()}")


def test_a_host_without_an_address_is_told() -> None:
    assert "cannot be reached" in failure("redis://no-such-host.invalid")


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"*what\r\n", b"x" * 200_000],
    ids=["http", "ssh", "nonsense", "flood"],
)
def test_what_is_not_redis_is_told(answer: bytes) -> None:
    async def main() -> str:
        async with answering(answer) as url:
            store = open_store(url)
            with pytest.raises(StoreUnavailable) as caught:
                await store.open()
            await store.close()
            return str(caught.value)

    assert "does not speak Redis's protocol" in asyncio.run(main())


def test_a_server_that_hangs_up_is_told() -> None:
    async def main() -> None:
        async with answering(None) as url:
            store = open_store(url)
            with pytest.raises(StoreUnavailable, match="ended the connection"):
                await store.open()
            await store.close()

    asyncio.run(main())


def test_a_server_that_still_loads_is_asked_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path, appendonly="no") as server:
        for number in range(400):
            server.call("SET", f"filler{number}", "x" * 2000)
        server.call("SAVE")
        server.kill()
        server._settings |= {"key-load-delay": "20000", "loading-process-events-interval-bytes": "1024"}
        server.start(wait=False)
        eventually(lambda: server.call("INFO", "persistence")["loading"] == 1)
        url = f"{server.url}?timeout=2s"
        assert "it is still loading its data; it is asked again" in failure(url)
        server.kill()
        del server._settings["key-load-delay"]
        server.start()
        with_store(lambda: open_store(url), nothing)


def test_a_replica_is_not_used(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "master") as master, RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {master.port}") as replica:
        eventually(lambda: in_step(master) == 1)
        assert "it is a replica, which may be behind; name the master, or use redis+sentinel://" in failure(replica.url)

        async def story(store: Store) -> None:
            await append(store, ModelPaused(pause("m")))
            master.call("REPLICAOF", "127.0.0.1", replica.port)
            for question in (store.position, lambda: append(store, ModelPaused(pause("n"))), lambda: store.report(report("w"))):
                with pytest.raises(StoreUnavailable, match="it is a replica"):
                    await question()

        with_store(lambda: open_store(master.url), story)


def test_a_full_memory_refuses_appends_whole_and_leaves_reading(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        await append(store, GrantIssued(grant("g")))
        used = server.call("INFO", "memory")["used_memory"]
        server.call("CONFIG", "SET", "maxmemory", used - 100_000)
        with pytest.raises(StoreUnavailable, match="its memory is full; raise maxmemory"):
            await append(store, GrantIssued(grant("h")))
        assert (await store.position()).epoch == 1
        assert len(await store.entries(0)) == len(await store.grants()) == 1
        server.call("CONFIG", "SET", "maxmemory", 0)
        assert (await append(store, GrantIssued(grant("h")))).epoch == 2

    with RedisServer(tmp_path) as server:
        with_store(lambda: open_store(server.url), story)


def test_a_server_that_takes_no_writes_without_replicas_is_told(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        server.call("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(StoreUnavailable, match=r"too few replicas to take writes \(min-replicas-to-write\)"):
            await append(store, GrantIssued(grant("g")))
        assert await store.head() == 0

    with RedisServer(tmp_path) as server:
        with_store(lambda: open_store(server.url), story)


def test_a_server_that_hangs_is_given_up_within_the_timeout_and_used_again(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        await append(store, GrantIssued(grant("g")))
        await store.changed()
        server.pause()
        questions: list[Callable[[], object]] = [store.position, store.state, lambda: store.report(report("w")), lambda: store.key("x")]
        began = time.monotonic()
        outcomes = await asyncio.gather(*(question() for question in questions), return_exceptions=True)
        took = time.monotonic() - began
        server.resume()
        for outcome in outcomes:
            assert isinstance(outcome, StoreUnavailable)
            assert "does not answer in time" in str(outcome)
        assert 0.3 <= took < 1.0
        assert await store.head() == 1

    with RedisServer(tmp_path) as server:
        try:
            with_store(lambda: open_store(f"{server.url}?timeout=300ms"), story)
        finally:
            server.resume()


def test_a_server_that_is_full_of_clients_is_told(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.call("CONFIG", "SET", "maxclients", 1)
        with __import__("redis").Redis(port=server.port, protocol=2) as client:
            client.ping()
            assert "max number of clients reached" in failure(server.url)


def test_a_closed_store_lets_nothing_hang(server: RedisServer) -> None:
    async def main() -> None:
        store = open_store(at(server), environ={"P": SECRET})
        await store.open()
        await store.changed()
        asking = asyncio.gather(*(store.head() for _ in range(50)), return_exceptions=True)
        await asyncio.sleep(0)
        await store.close()
        for outcome in await asking:
            assert isinstance(outcome, int | StoreError)

    asyncio.run(main())


def test_the_permissions_that_are_documented_are_enough_for_all_that_a_store_does(server: RedisServer) -> None:
    assert len(PERMISSIONS) > 20

    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("of-the-page")))
        await append(store, GrantIssued(grant("of-the-page")))
        await store.state()
        await store.position()
        await store.directive_history("of-the-page")
        assert await store.grants() == await store.grants_of("https://idp.example|alice") != ()
        await store.keys()
        await store.report(report("w"))
        await store.replicas()
        await store.forget_replica("w", "i1")
        await store.changed()
        await until_changed(store, True)
        assert not await store.changed()

    with_store(lambda: open_store(at(server, wait="0"), environ={"P": SECRET}), story)
