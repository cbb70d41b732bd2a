"""A store that cannot be used when the gate starts: it listens, admits nobody, says why and what to do, and recovers by itself.

Each kind of trouble is made for real, and mended in place while the gate runs.
"""

import contextlib
import shutil
import socketserver
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate, free_port, wait_until
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Upstream
from tests.unit.gate.gate_certificates import Authority

OPEN = {"model": "gpt-open"}
SECRET = "open-sesame-0123456789"


class Trouble:
    """The URL of a store, what is wrong with it as operators are to read it, and what puts it right."""

    def __init__(self, url: str, said: str, mend: Callable[[], object], spoil: Callable[[], object] = lambda: None) -> None:
        self.url = url
        self.said = said
        self.mend = mend
        self.spoil = spoil  # before the start; until then it is a good store


Ground = tuple[Path, contextlib.ExitStack]


def redis(ground: Ground, **settings: str) -> RedisServer:
    """One that runs."""
    folder, stack = ground
    return stack.enter_context(RedisServer(folder / "redis", **settings))


# -- Redis: not there, or not for us


def nobody_listens(ground: Ground) -> Trouble:
    folder, stack = ground
    server = RedisServer(folder / "redis")
    return Trouble(server.url, "check that it runs, the host and the port", lambda: stack.enter_context(server))


def another_protocol_is_spoken(ground: Ground) -> Trouble:
    """As on a wrong port."""
    folder, stack = ground

    class Web(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = RedisServer(folder / "redis")
    socketserver.TCPServer.allow_reuse_address = True
    web = socketserver.ThreadingTCPServer(("127.0.0.1", server.port), Web)
    threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()

    def mend() -> None:
        web.shutdown()
        web.server_close()
        stack.enter_context(server)

    return Trouble(server.url, "does not speak Redis's protocol; correct the host and the port", mend)


def password_is_wrong(ground: Ground) -> Trouble:
    server = redis(ground, requirepass=SECRET)
    file = ground[0] / "password"
    file.write_text(f"{SECRET}-no")
    return Trouble(
        f"redis://127.0.0.1:{server.port}?password_file={file}",
        "does not accept the user or the password; correct the URL's user, or what password_env or password_file names",
        lambda: file.write_text(SECRET),
    )


def password_is_not_named(ground: Ground) -> Trouble:
    server = redis(ground, requirepass=SECRET)
    return Trouble(
        server.url,
        "it wants a password; name where it is, with ?password_env=NAME",
        lambda: server.call("CONFIG", "SET", "requirepass", "", password=SECRET),
    )


def user_lacks_a_permission(ground: Ground) -> Trouble:
    server = redis(ground)
    server.call("ACL", "SETUSER", "gate", "on", f">{SECRET}", "~*", "&*", "+@all", "-xadd")
    file = ground[0] / "password"
    file.write_text(SECRET)
    return Trouble(
        f"redis://gate@127.0.0.1:{server.port}?password_file={file}",
        "the user lacks a permission; grant it as docs/how-to/share-a-store.md lists them",
        lambda: server.call("ACL", "SETUSER", "gate", "+xadd"),
    )


def certificate_is_not_trusted(ground: Ground) -> Trouble:
    folder, stack = ground
    authority, other = Authority(folder / "ca"), Authority(folder / "other")
    certificate, key = authority.issues("127.0.0.1")
    server = RedisServer(
        folder / "redis", tls_cert_file=certificate, tls_key_file=key, tls_auth_clients="no", tls_ca_cert_file=authority.path
    )
    server._settings |= {"tls-port": str(server.port), "port": "0"}
    stack.enter_context(server)
    trusted = folder / "trusted.pem"
    shutil.copy(other.path, trusted)
    return Trouble(
        f"rediss://127.0.0.1:{server.port}?ca={trusted}",
        "its certificate is not to be trusted; name the authority's file with ?ca=PATH",
        lambda: shutil.copy(authority.path, trusted),
    )


def tls_is_not_spoken(ground: Ground) -> Trouble:
    """The server has none yet."""
    folder, stack = ground
    authority = Authority(folder / "ca")
    certificate, key = authority.issues("127.0.0.1")
    plain = stack.enter_context(RedisServer(folder / "plain"))
    server = RedisServer(
        folder / "redis", tls_cert_file=certificate, tls_key_file=key, tls_auth_clients="no", tls_ca_cert_file=authority.path
    )
    server.port = plain.port
    server._settings |= {"tls-port": str(server.port), "port": "0"}

    def mend() -> None:
        plain.kill()
        stack.enter_context(server)

    said = "it does not answer in time; look at the server, the network and whether it has TLS"
    return Trouble(f"rediss://127.0.0.1:{server.port}?ca={authority.path}&timeout=500ms", said, mend)


def it_is_a_replica(ground: Ground) -> Trouble:
    server = redis(ground, replicaof=f"127.0.0.1 {free_port()}")
    said = "it is a replica, which may be behind; name the master, or use redis+sentinel://"
    return Trouble(server.url, said, lambda: server.call("REPLICAOF", "NO", "ONE"))


# -- Redis: what is in it


def redis_layout_is_newer(ground: Ground) -> Trouble:
    server = redis(ground)
    return Trouble(
        server.url,
        "was written by a newer Frontier Gate (layout 99; this one knows 1): upgrade, or restore the backup taken before the upgrade",
        lambda: server.call("HSET", "{frontiergate}:meta", "layout", "1"),
        lambda: server.call("HSET", "{frontiergate}:meta", "layout", "99"),
    )


def redis_keys_are_another_programs(ground: Ground) -> Trouble:
    server = redis(ground)
    server.call("SET", "{frontiergate}:meta", "theirs")
    said = "another program's keys are under this prefix; choose another, with ?prefix=NAME"
    return Trouble(server.url, said, lambda: server.call("DEL", "{frontiergate}:meta"))


def redis_hash_is_another_programs(ground: Ground) -> Trouble:
    server = redis(ground)
    server.call("HSET", "{frontiergate}:meta", "name", "theirs")
    said = "another program uses the same keys, or somebody edited them; restore a backup, or choose another prefix"
    return Trouble(server.url, said, lambda: server.call("DEL", "{frontiergate}:meta"))


def head_of_the_log_is_gone(ground: Ground) -> Trouble:
    server = redis(ground)
    server.call("HSET", "{frontiergate}:directives", "a", "b")
    said = "there are parts of a log under '{frontiergate}:meta' but not its head: restore a backup"
    return Trouble(server.url, said, lambda: server.call("DEL", "{frontiergate}:directives"))


# -- SQLite


def sqlite_layout_is_newer(ground: Ground) -> Trouble:
    file = ground[0] / "state.db"

    def wrote(version: int) -> None:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("PRAGMA application_id = 1179083124")

    return Trouble(
        f"sqlite://{file}",
        "was written by a newer Frontier Gate (layout 99; this one knows 1): upgrade, or restore the backup taken before the upgrade",
        lambda: wrote(1) if file.stat().st_size > 4096 else file.unlink(),
        lambda: wrote(99),
    )


def sqlite_file_is_another_programs(ground: Ground) -> Trouble:
    file = ground[0] / "state.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    said = "is a SQLite database of another program: name another file in `store`"
    return Trouble(f"sqlite://{file}", said, lambda: file.rename(ground[0] / "theirs.db"))


def sqlite_file_is_no_database(ground: Ground) -> Trouble:
    file = ground[0] / "state.db"
    file.write_text("once upon a time" * 100)
    said = "it is not a SQLite database; name another file in `store`, or restore a backup"
    return Trouble(f"sqlite://{file}", said, file.unlink)


def sqlite_row_is_unreadable(ground: Ground) -> Trouble:
    file = ground[0] / "state.db"

    def wrote(statement: str) -> None:
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(statement)

    return Trouble(
        f"sqlite://{file}",
        "the store's pause of m is unreadable",
        lambda: wrote("DELETE FROM pauses"),
        lambda: wrote("INSERT INTO pauses VALUES ('m', CAST('{}' AS BLOB))"),
    )


TROUBLES = (
    nobody_listens,
    another_protocol_is_spoken,
    password_is_wrong,
    password_is_not_named,
    user_lacks_a_permission,
    certificate_is_not_trusted,
    tls_is_not_spoken,
    it_is_a_replica,
    redis_layout_is_newer,
    redis_keys_are_another_programs,
    redis_hash_is_another_programs,
    head_of_the_log_is_gone,
    sqlite_layout_is_newer,
    sqlite_file_is_another_programs,
    sqlite_file_is_no_database,
    sqlite_row_is_unreadable,
)
SPOILT_LATER = (redis_layout_is_newer, sqlite_layout_is_newer, sqlite_row_is_unreadable)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with contextlib.ExitStack() as stack:
        yield tmp_path, stack


@contextlib.contextmanager
def started(gate: Gate) -> Iterator[list[int]]:
    """A gate whose processes run, whether or not they can serve; its workers."""
    try:
        gate.start(wait=False)
        gate.wait_listening()
        gate.wait_log(lambda lines: any(line["message"] == "control plane serves" for line in lines))
        yield gate.worker_pids()
    finally:
        gate.__exit__()


def admits_nobody_and_says(gate: Gate, said: str) -> None:
    reached = gate.upstream.connections
    for body in (OPEN, {"model": "gpt-frontier"}):
        reply = gate.call(body)
        assert (reply.status, reply.reason) == (503, "gate_policy_stale")
        assert int(reply.headers["retry-after"]) > 0
    assert gate.call(path="/v1/models", method="GET").reason == "gate_policy_stale"
    assert gate.upstream.connections == reached, "no byte went upstream"
    assert gate.admin("GET", "/healthz").status == 200
    ready = wait_until(lambda: gate.admin("GET", "/readyz"), lambda reply: said in " ".join(reply.json["reasons"]))
    assert ready.status == 503


def recovers_by_itself(gate: Gate, workers: list[int]) -> None:
    gate.wait_serving()
    wait_until(lambda: gate.call(OPEN).status, lambda status: status == 200)
    wait_until(lambda: gate.admin("GET", "/readyz").status, lambda status: status == 200)
    assert gate.worker_pids() == workers, "nothing was restarted"


def said_once(gate: Gate, said: str) -> None:
    """By each process; the supervisor has nothing to say."""
    messages = [line for line in gate.log if said in str(line)]
    assert len(messages) == len({line["logger"] for line in messages}) in {1, 2}
    assert not [line for line in gate.log if line["message"] in {"process died", "cannot serve"}]
    assert SECRET not in str(gate.log)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_gate_that_starts_on_it_admits_nobody_until_it_is_mended(
    trouble: Callable[[Ground], Trouble], ground: Ground, upstream: Upstream, tmp_path: Path
) -> None:
    here = trouble(ground)
    gate = Gate(tmp_path / "gate", upstream, store=here.url)
    if trouble in SPOILT_LATER:
        with gate:
            pass
        shutil.rmtree(gate.directory / "audit")  # a new host: it never saw a policy
        gate.log.clear()
    here.spoil()
    with started(gate) as workers:
        admits_nobody_and_says(gate, here.said)
        here.mend()
        recovers_by_itself(gate, workers)
        said_once(gate, here.said)


@pytest.mark.parametrize("trouble", [redis_layout_is_newer, sqlite_layout_is_newer], ids=lambda trouble: trouble.__name__)
def test_a_gate_that_knows_a_policy_from_before_admits_nobody_either(
    trouble: Callable[[Ground], Trouble], ground: Ground, upstream: Upstream, tmp_path: Path
) -> None:
    here = trouble(ground)
    gate = Gate(tmp_path / "gate", upstream, store=here.url)
    with gate:
        pass
    gate.log.clear()
    here.spoil()
    with started(gate) as workers:
        admits_nobody_and_says(gate, here.said)
        here.mend()
        recovers_by_itself(gate, workers)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "mend", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:40]), Path.unlink, "is unreadable"),
        (lambda path: path.write_bytes(b""), Path.unlink, "is unreadable"),
        (lambda path: path.write_bytes(b"\xff\x00"), Path.unlink, "is unreadable"),
        (make_folder, Path.rmdir, "cannot be read from"),
    ],
    ids=["cut off", "empty", "other bytes", "no file"],
)
def test_a_gate_whose_saved_policy_cannot_be_read_admits_nobody_until_it_is_mended(
    upstream: Upstream, tmp_path: Path, damage: Callable[[Path], object], mend: Callable[[Path], object], said: str
) -> None:
    """Else a damaged file would let a store pass that lost a withdrawal."""
    gate = Gate(tmp_path / "gate", upstream)
    with gate:
        pass
    gate.log.clear()
    saved = gate.directory / "audit" / "policy-0.json"
    damage(saved)
    with started(gate) as workers:
        admits_nobody_and_says(gate, said)
        (reason,) = gate.admin("GET", "/readyz").json["reasons"]
        assert str(saved) in reason
        assert "or remove it" in reason
        mend(saved)
        recovers_by_itself(gate, workers)
        said_once(gate, said)


def test_a_gate_that_runs_refuses_a_store_that_a_newer_one_took_over(ground: Ground, upstream: Upstream, tmp_path: Path) -> None:
    """It goes by the policy known last until its lease ends, and then by none."""
    trouble = redis_layout_is_newer(ground)
    with Gate(tmp_path / "gate", upstream, store=trouble.url, enforcement={"lease": "1s"}) as gate:
        workers = gate.worker_pids()
        trouble.spoil()
        wait_until(lambda: gate.call(OPEN).reason, lambda reason: reason == "gate_policy_stale")
        admits_nobody_and_says(gate, trouble.said)
        changed = gate.admin("POST", "/admin/v1/models/openai/gpt-open/pause", {"reason": "maintenance"})
        assert changed.status == 503
        assert "nothing was changed" in changed.json["detail"]
        assert gate.admin("GET", "/metrics").status == 200
        trouble.mend()
        recovers_by_itself(gate, workers)


def test_settings_that_lose_data_are_told_and_the_gate_serves(ground: Ground, upstream: Upstream, tmp_path: Path) -> None:
    """What they cost is noticed when it is lost; until then there is no reason to cut anybody off."""
    server = redis(ground, appendonly="no", maxmemory_policy="allkeys-lru")
    with Gate(tmp_path / "gate", upstream, store=server.url) as gate:
        assert gate.call(OPEN).status == 200
        for said in ("set appendonly yes", "set maxmemory-policy noeviction"):
            assert len([line for line in gate.log if said in line["message"]]) == 2, "once by the worker, once by the control process"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h:99999", "names a host that cannot be read"),
        ("postgres://h/db", "is not a store that this version has"),
        (f"redis://gate:{SECRET}@h", "holds a password, which would be shown with it"),
        ("redis+sentinel://h", "does not say which master"),
        ("redis://h?timeuot=1s", "did you mean 'timeout'?"),
        ("sqlite:///", "names no file"),
    ],
)
def test_what_no_store_could_mend_is_a_mistake_in_the_configuration(upstream: Upstream, tmp_path: Path, url: str, said: str) -> None:
    gate = Gate(tmp_path / "gate", upstream, store=url)
    line = 1 + gate.path.read_text().splitlines().index(f' "store": "{url}",')
    place = f"{gate.path}:{line}: store: "
    checked = gate.cli("check-config", "--config", str(gate.path))
    assert checked.returncode == 1
    (error,) = [text for text in checked.stdout.splitlines() if text.startswith("error")]
    assert error.startswith(f"error: {place}")
    assert said in error
    gate.start(wait=False)
    assert gate.process is not None
    assert gate.process.wait(20) == 1
    gate.__exit__()
    (told,) = [text["message"] for text in gate.log if said in text["message"]]
    assert place in told
    assert SECRET not in checked.stdout + str(gate.log)
