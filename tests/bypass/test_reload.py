"""BYPASSES 68, 69: the configuration, changed while the gate runs."""

import copy
import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.bypass.probe import Line, restrict
from tests.fixtures.gate import Gate
from tests.fixtures.upstream import Upstream, like_a_model

REFUSED, TAKEN = "configuration refused; the one in force is kept", "configuration taken"
FRONTIER = {"model": "gpt-frontier", "messages": []}


class Reloading:
    """A gate whose file a test edits."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.usual = copy.deepcopy(gate.config)

    def reload(self, message: str) -> None:
        """SIGHUP; returns once the gate has said `message` once more."""

        def said(lines: list[dict[str, object]]) -> int:
            return sum(line["message"] == message for line in lines)

        before = said(self.gate.log)
        assert self.gate.process is not None
        self.gate.process.send_signal(signal.SIGHUP)
        self.gate.wait_log(lambda lines: said(lines) > before)

    def change(self, edit: Callable[[dict], object], message: str = TAKEN) -> None:
        """The usual configuration, edited and reloaded."""
        self.gate.config = copy.deepcopy(self.usual)
        edit(self.gate.config)
        self.gate.write_config()
        self.reload(message)


@pytest.fixture(scope="module")
def started(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    with Gate(tmp_path_factory.mktemp("reloading"), shared_upstream) as gate:
        yield Reloading(gate)


@pytest.fixture
def reloading(started: Reloading, shared_upstream: Upstream) -> Iterator[Reloading]:
    shared_upstream.answer = like_a_model
    shared_upstream.going.set()
    yield started
    shared_upstream.going.clear()
    started.change(lambda config: None)


@pytest.mark.parametrize(
    "text",
    [
        "models: [",
        "",
        "{}{}",
        "directives: nonsense",
        '{"directives": []',
        "\0",
        "unknown_key: 1",
        "models: &a [*a]",
    ],
)
def test_68_a_file_that_cannot_be_used_changes_nothing(reloading: Reloading, text: str) -> None:
    reloading.gate.path.write_text(text)
    reloading.reload(REFUSED)
    assert reloading.gate.call(FRONTIER).status == 200
    assert reloading.gate.call(FRONTIER, token=reloading.gate.token(us_person=False)).status == 451


def test_68_a_half_written_file_changes_nothing(reloading: Reloading) -> None:
    text = reloading.gate.path.read_text()
    for part in (len(text) // 4, len(text) // 2, len(text) - 2):
        reloading.gate.path.write_text(text[:part])
        reloading.reload(REFUSED)
        assert reloading.gate.call(FRONTIER, token=reloading.gate.token(us_person=False)).status == 451


def test_68_a_model_that_is_removed_ends_its_streams(reloading: Reloading) -> None:
    with Line(reloading.gate.port) as line:
        body = json.dumps({**FRONTIER, "stream": True})
        line.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {reloading.gate.token()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        line.read_until(b"data: ")
        reloading.change(lambda config: config.update(models=[model for model in config["models"] if model["id"] != "openai/gpt-frontier"]))
        assert b"caller_model_unknown" in line.answer().body
    assert reloading.gate.call(FRONTIER).reason == "caller_model_unknown"


def test_68_an_issuer_that_is_removed_is_nobodys_issuer(reloading: Reloading) -> None:
    token = reloading.gate.token()
    assert reloading.gate.call(FRONTIER, token=token).status == 200
    reloading.change(lambda config: config["identity"].update(issuers=[]))
    assert reloading.gate.call(FRONTIER, token=token).reason == "caller_credential_invalid"


def test_68_trust_that_is_withdrawn_from_a_proxy_counts_for_the_next_connection(reloading: Reloading) -> None:
    reloading.change(lambda config: config.update(clients={"trusted_proxies": ["127.0.0.2/32"]}, directives=[here()]))
    spoof = {"x-forwarded-for": "127.0.0.1"}
    assert reloading.gate.call(FRONTIER, source="127.0.0.2", headers=spoof).status == 200
    reloading.change(lambda config: config.update(directives=[here()]))
    assert reloading.gate.call(FRONTIER, source="127.0.0.2", headers=spoof).reason == "policy_location"


def test_69_a_file_that_is_edited_counts_only_once_it_is_taken_whole(reloading: Reloading) -> None:
    token = reloading.gate.token(us_person=False)
    reloading.gate.config["directives"] = []
    reloading.gate.write_config()
    assert reloading.gate.call(FRONTIER, token=token).status == 451
    reloading.reload(TAKEN)
    assert reloading.gate.call(FRONTIER, token=token).status == 200


def test_69_an_id_of_the_file_is_not_taken_at_runtime(reloading: Reloading) -> None:
    directive = {
        "id": "is-2026-014",
        "order": {"authority": "A", "reference": "R"},
        "models": ["*"],
        "require": {"us_person": True},
        "otherwise": "refuse",
    }
    assert reloading.gate.admin("POST", "/admin/v1/directives", {"directive": directive, "reason": "a test"}).status == 409
    assert reloading.gate.admin("DELETE", "/admin/v1/directives/is-2026-014", headers={"if-match": '"1"'}).status == 409
    assert reloading.gate.call(FRONTIER, token=reloading.gate.token(us_person=False)).status == 451


def test_69_the_same_id_in_file_and_store_is_two_directives_that_both_apply(reloading: Reloading) -> None:
    restrict(reloading.gate, "openai/gpt-open", "twice")
    weak = {
        "id": "twice",
        "order": {"authority": "A", "reference": "R"},
        "models": ["openai/gpt-open"],
        "require": {"us_person": True},
        "otherwise": "refuse",
    }
    reloading.change(lambda config: config["directives"].append(weak))
    assert reloading.gate.call({"model": "gpt-open"}).reason == "policy_withdrawn"
    reloading.change(lambda config: None)
    assert reloading.gate.call({"model": "gpt-open"}).reason == "policy_withdrawn"
    etag = reloading.gate.admin("GET", "/admin/v1/directives/twice").headers["etag"]
    assert reloading.gate.admin("DELETE", "/admin/v1/directives/twice", headers={"if-match": etag}).status == 200


def here() -> dict[str, object]:
    return {
        "id": "here",
        "order": {"authority": "A", "reference": "R"},
        "models": ["*"],
        "require": {"location": {"any_in": ["US"]}},
        "otherwise": "refuse",
    }
