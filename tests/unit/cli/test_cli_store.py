"""`frontiergate store`: what it says, how it ends, and that nothing is lost on the way."""

import asyncio
import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer
from tests.unit.cli.test_cli_directives import Run
from tests.unit.store.snapshot_stories import HISTORY, Keys, fill, held, make
from tests.unit.store.store_contract import report

Configured = Callable[[str], str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Writes a configuration that names a store; returns its path."""
    numbers = itertools.count()

    def write(url: str) -> str:
        file = tmp_path / f"gate{next(numbers)}.yaml"
        file.write_text(f'store: "{url}"\n')
        return str(file)

    return write


@pytest.fixture
def url(tmp_path: Path) -> str:
    fill(f"sqlite://{tmp_path}/state.db")
    return f"sqlite://{tmp_path}/state.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "snapshot.jsonl"


@contextlib.contextmanager
def reporting(url: str) -> Iterator[None]:
    """A replica that lives: it reports again and again."""
    over, begun = threading.Event(), threading.Event()

    async def live() -> None:
        store = open_store(url)
        for beat in itertools.count():
            await store.report(report("host/0", heartbeat=float(beat)))
            begun.set()
            if over.wait(0.05):
                break
        await store.forget_replica("host/0", "i1")
        await store.close()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert begun.wait(10)
        yield
    finally:
        over.set()
        thread.join()


HOLDS = "1 directive, 1 pause, 3 grants, 2 keys"


class TestThereAndBack:
    def test_each_step_says_what_was_done(
        self, run: Run, url: str, configured: Configured, keys: Keys, file: Path, server: RedisServer
    ) -> None:
        lineage, epoch = held(url).position.lineage, len(HISTORY)
        done = run("store", "export", str(file), "--config", configured(url), "--key-file", str(keys.private))
        assert (done.code, done.err) == (0, "")
        assert done.out == f"{file} holds epoch {epoch} of log {lineage}: {HOLDS}, signed with key {keys.signing.name}\n"
        shared = configured(server.url)
        done = run("store", "import", str(file), "--config", shared, "--key-file", str(keys.public))
        assert (done.code, done.err, done.out) == (0, "", f"the store holds epoch {epoch} of log {lineage}: {HOLDS}\n")
        done = run("store", "check", "--config", shared)
        assert done.out == f"the store holds epoch {epoch} of log {lineage}: {HOLDS}, exactly what its log adds up to\n"
        assert held(server.url) == held(url)

    def test_scripts_are_told_too(
        self, run: Run, url: str, tmp_path: Path, configured: Configured, keys: Keys, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SIGN", keys.private.read_text())
        monkeypatch.setenv("VERIFY", keys.public.read_text())
        monkeypatch.setenv("FRONTIERGATE_CONFIG", configured(url))
        counted = {"lineage": held(url).position.lineage, "epoch": len(HISTORY), "directives": 1, "pauses": 1, "grants": 3, "keys": 2}
        told = run("store", "export", str(file), "--key-env", "SIGN", "--output", "json").json
        assert told == {**counted, "signer": keys.signing.name, "in_use_by": []}
        other = f"sqlite://{tmp_path}/other.db"
        fill(other, HISTORY[:2])
        before = held(other).position
        place = f"{before.lineage}@2"
        arguments = ("--config", configured(other), "--key-env", "VERIFY", "--replace", place)
        told = run("store", "import", str(file), *arguments, "--output", "json").json
        assert told == {**counted, "signer": keys.signing.name, "replaced": {"lineage": before.lineage, "epoch": 2}}
        assert run("store", "check", "--config", configured(other), "--output", "json").json == {"ok": True, **counted, "problems": []}

    def test_a_log_is_given_up_only_by_name(
        self, run: Run, url: str, tmp_path: Path, configured: Configured, keys: Keys, file: Path
    ) -> None:
        make(file, keys, HISTORY[:2])
        lineage = held(url).position.lineage
        command = ("store", "import", str(file), "--config", configured(url), "--key-file", str(keys.public))
        done = run(*command)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"frontiergate: the store holds a log already: {lineage}, up to epoch 14.")
        assert done.err.endswith(f"--replace {lineage}@14\n")
        done = run(*command, "--replace", f"{lineage}@14")
        assert done.code == 0
        assert done.out.endswith(f"it gave up epoch 14 of log {lineage}\n")

    def test_by_processes_of_their_own(self, url: str, tmp_path: Path, configured: Configured, keys: Keys, file: Path) -> None:
        other = f"sqlite://{tmp_path}/other.db"

        def command(*words: str, config: str) -> subprocess.CompletedProcess[str]:
            environ = {**os.environ, "FRONTIERGATE_CONFIG": configured(config)}
            called = [sys.executable, "-m", "frontiergate.cli.main", "store", *words]
            return subprocess.run(called, env=environ, capture_output=True, text=True, timeout=60, check=False)

        done = command("export", str(file), "--key-file", str(keys.private), config=url)
        assert (done.returncode, done.stderr) == (0, "")
        done = command("import", str(file), "--key-file", str(keys.public), config=other)
        assert (done.returncode, done.stderr) == (0, "")
        assert held(other) == held(url)
        assert command("import", str(file), "--key-file", str(keys.public), config=other).returncode == 1
        assert command("import", str(file), config=other).returncode == 2


class TestARunningGate:
    def test_may_go_on_during_an_export_and_is_told(self, run: Run, url: str, configured: Configured, keys: Keys, file: Path) -> None:
        with reporting(url):
            done = run("store", "export", str(file), "--config", configured(url), "--key-file", str(keys.private))
        assert done.code == 0
        assert done.err == "a gate is using the store (host/0): what is changed from now on is not in the file\n"

    def test_stops_an_import(self, run: Run, url: str, configured: Configured, keys: Keys, file: Path) -> None:
        make(file, keys, HISTORY[:2])
        position = held(url).position
        with reporting(url):
            done = run(
                *("store", "import", str(file), "--config", configured(url), "--key-file", str(keys.public)),
                *("--replace", f"{position.lineage}@{position.epoch}"),
            )
        assert (done.code, done.err) == (1, "frontiergate: a gate is using the store (host/0): stop every gate on it, and repeat this\n")
        assert held(url).position == position


class TestACheck:
    def test_names_what_is_wrong_and_the_way_out(self, run: Run, url: str, configured: Configured) -> None:
        connection = sqlite3.connect(url.removeprefix("sqlite://"))
        with connection:
            connection.execute("DELETE FROM grants WHERE id = 'g3'")
        done = run("store", "check", "--config", configured(url))
        assert (done.code, done.err) == (1, "")
        first, *_, last = done.out.splitlines()
        assert first == "grant 'g3' is not held, but the log says so"
        assert last == "the log is whole; to make the rest again: store export --from-log, then store import --replace"
        report = run("store", "check", "--config", configured(url), "--output", "json").json
        assert (report["ok"], report["epoch"], report["problems"][0]) == (False, 14, first)
        connection.close()

    def test_says_where_the_log_ends(self, run: Run, url: str, configured: Configured) -> None:
        connection = sqlite3.connect(url.removeprefix("sqlite://"))
        connection.executescript("DROP TRIGGER log_is_not_cut; DELETE FROM log WHERE epoch = 5")
        connection.close()
        done = run("store", "check", "--config", configured(url))
        assert (done.code, done.out) == (1, "the log has a gap: entry 6 comes after entry 4\n")
        report = run("store", "check", "--config", configured(url), "--output", "json").json
        assert report == {"ok": False, "problems": ["the log has a gap: entry 6 comes after entry 4"]}

    def test_needs_a_store(self, run: Run, tmp_path: Path, configured: Configured) -> None:
        done = run("store", "check", "--config", configured(f"sqlite://{tmp_path}/none.db"))
        assert (done.code, done.err) == (
            1,
            f"frontiergate: store {tmp_path}/none.db: there is no such file; name the right one in `store`\n",
        )
        done = run("store", "check", "--config", configured("redis://127.0.0.1:9?timeout=100ms"))
        assert done.code == 1
        assert done.err.startswith("frontiergate: store redis://127.0.0.1:9: it cannot be reached")

    def test_needs_a_configuration(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FRONTIERGATE_CONFIG", raising=False)
        done = run("store", "check")
        assert (done.code, done.err) == (
            1,
            "frontiergate: no configuration file is named; pass --config FILE or set FRONTIERGATE_CONFIG\n",
        )


class TestAKey:
    @pytest.fixture
    def refusal(self, run: Run, url: str, configured: Configured, file: Path, keys: Keys) -> Callable[..., str]:
        def attempt(verb: str, *words: str) -> str:
            if verb == "import" and not file.exists():
                make(file, keys, HISTORY)
            done = run("store", verb, str(file), "--config", configured(url), *words)
            assert (done.code, done.out) == (1, "")
            assert "BEGIN" not in done.err
            return done.err

        return attempt

    def test_is_required_once(self, run: Run, file: Path) -> None:
        for verb in ("export", "import"):
            assert run("store", verb, str(file)).code == 2
            assert run("store", verb, str(file), "--key-file", "a", "--key-env", "b").code == 2

    def test_that_is_not_there_is_told(self, refusal: Callable[..., str], tmp_path: Path) -> None:
        for verb in ("export", "import"):
            assert "none.pem cannot be read: No such file or directory" in refusal(verb, "--key-file", f"{tmp_path}/none.pem")
            assert "the environment variable NO_SUCH_KEY is not set" in refusal(verb, "--key-env", "NO_SUCH_KEY")
            assert "embedded null byte" in refusal(verb, "--key-file", "a\0b")

    def test_of_the_wrong_half_is_told(self, refusal: Callable[..., str], keys: Keys) -> None:
        said = refusal("export", "--key-file", str(keys.public))
        assert "holds no private key in PEM without a passphrase; make one: openssl genpkey -algorithm ed25519" in said
        assert "holds no public key in PEM; take it from the private one: openssl pkey" in refusal(
            "import", "--key-file", str(keys.private)
        )

    def test_of_another_kind_is_told(self, refusal: Callable[..., str], tmp_path: Path) -> None:
        other = generate_private_key(SECP256R1())
        private, public = tmp_path / "p256.pem", tmp_path / "p256.pub.pem"
        private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert "holds a private key, but not of Ed25519" in refusal("export", "--key-file", str(private))
        assert "holds a public key, but not of Ed25519" in refusal("import", "--key-file", str(public))

    def test_with_a_passphrase_is_told(self, refusal: Callable[..., str], tmp_path: Path) -> None:
        locked = tmp_path / "locked.pem"
        made = Ed25519PrivateKey.generate()
        locked.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
        assert "without a passphrase" in refusal("export", "--key-file", str(locked))


@pytest.mark.parametrize("text", ["", "@", "@5", "abc", "abc@", "abc@-1", "abc@x", "abc@²"])
def test_a_place_that_is_none_is_a_usage_error(run: Run, text: str) -> None:
    done = run("store", "import", "file", "--key-file", "key", "--replace", text)
    assert done.code == 2
    assert "is not LINEAGE@EPOCH; without --replace, the command says what to write" in done.err
