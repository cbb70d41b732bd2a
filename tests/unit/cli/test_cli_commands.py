"""The other nouns, against a real control plane."""

import pytest

from tests.unit.cli.cli_harness import Shell
from tests.unit.cli.test_cli_directives import ORDER, Run
from tests.unit.control.control_harness import Desk

PRINCIPAL = "https://idp.example|u-1"


def words(shell: Shell) -> list[list[str]]:
    return [line.split() for line in shell.out.splitlines()]


def test_models_are_listed_paused_and_resumed(desk: Desk, run: Run) -> None:
    assert run("pause", "acme/small", "--reason", "it burns").out == "acme/small is paused, epoch 1\n"
    assert words(run("models", "list")) == [
        ["MODEL", "STATE", "LIVE", "TAGS", "DIRECTIVES"],
        ["acme/frontier-5", "open", "0", "cyber", "-"],
        ["acme/frontier-6", "open", "0", "cyber,", "bio", "-"],
        ["acme/small", "paused", "0", "-", "from-file"],
    ]
    assert run("models", "list", "--output", "json").json["models"][2]["paused"]["reason"] == "it burns"
    assert run("resume", "acme/small").out == "acme/small is resumed, epoch 2\n"
    done = run("resume", "acme/small", "--output", "json")
    assert (done.code, done.out, done.err) == (1, "", "frontiergate: acme/small is not paused\n")
    assert run("pause", "acme/small", "--reason", "r", "--output", "json").json["paused"] is True


def test_grants_are_given_listed_and_ended(desk: Desk, run: Run) -> None:
    made = run(
        "grants",
        "create",
        "--principal",
        PRINCIPAL,
        "--programme",
        "caisi",
        "--models",
        "acme/frontier-*",
        "--expires",
        "2999-01-01T00:00:00Z",
        "--reason",
        "r",
    )
    grant = made.out.split()[0]
    assert made.out == f"{grant} gives {PRINCIPAL} acme/frontier-5, acme/frontier-6 until 2999-01-01T00:00:00.000Z, epoch 1\n"
    for verb, state in (("suspend", "suspended"), ("resume", "active again"), ("revoke", "revoked")):
        assert run("grants", verb, grant, "--reason", "r").out.startswith(f"{grant} is {state}, epoch ")
    assert words(run("grants", "list"))[1][:6] == [grant, PRINCIPAL, "caisi", "revoked", "no", "2999-01-01T00:00:00.000Z"]
    assert run("grants", "list", "--principal", PRINCIPAL, "--output", "json").json == {"grants": []}


def test_a_long_list_of_grants_is_read_to_its_end(desk: Desk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.control.grants.PAGE", 2)
    for number in range(5):
        run(
            "grants",
            "create",
            "--principal",
            f"https://idp.example|u-{number}",
            "--programme",
            "caisi",
            "--models",
            "acme/small",
            "--reason",
            "r",
        )
    assert len(run("grants", "list", "--output", "json").json["grants"]) == 5


def test_keys_are_made_listed_and_revoked(desk: Desk, run: Run) -> None:
    made = run(
        "keys",
        "create",
        "--name",
        "batch",
        "--nationality",
        "US",
        "FR",
        "--us-person",
        "yes",
        "--cohort",
        "a",
        "--expires",
        "90d",
        "--reason",
        "r",
    )
    first, second = made.out.splitlines()
    key = first.split()[0]
    assert first == f"{key} is made, epoch 1; as a principal it is key|{key}"
    assert second.startswith("secret (shown only now): fg_")
    listed = run("keys", "list").out
    assert "nationality US (attested), nationality FR (attested), us_person true (attested), cohort a (attested)" in listed
    assert "fg_" not in listed
    assert run("keys", "revoke", key, "--reason", "leaked").out == f"{key} is revoked, epoch 2\n"
    assert run("keys", "list", "--output", "json").json["keys"][0]["state"] == "revoked"
    assert run("keys", "create", "--name", "n", "--reason", "r", "--output", "json").json["secret"].startswith("fg_")


def test_names_from_others_cannot_steer_the_terminal(desk: Desk, run: Run) -> None:
    run("keys", "create", "--name", "evil\x1b[2J\nk_0  fine", "--reason", "r")
    _, row = run("keys", "list").out.splitlines()
    assert "evil\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}k_0  fine" in row


def test_replicas_are_listed(desk: Desk, run: Run) -> None:
    desk.report("host/0", 0)
    desk.report("host/1", 0, stale=True, problem="this host's clock\x1b is 9 s ahead", clock_offset=9.0)
    head, first, second, problem, total = words(run("replicas"))
    assert head == ["HOST", "WORKER", "STATE", "EPOCH", "LIVE", "HEARD", "OF", "STALE", "CLOCK", "VERSION", "CONFIG"]
    assert first[:5] == ["host", "0", "enforcing", "0", "3"]
    assert first[6:] == ["s", "ago", "no", "+0.000", "s", "0.1.0", "c0ffee"]
    assert second[8:11] == ["yes", "+9.000", "s"]
    assert problem[:4] == ["host/1:", "this", "host's", "clock\N{REPLACEMENT CHARACTER}"]
    assert total == ["2", "of", "2", "replicas", "enforce", "epoch", "0"]
    assert run("replicas", "--output", "json").json["complete"] is True


class TestExplain:
    def test_it_tells_verdict_facts_directives_and_notes(self, desk: Desk, run: Run) -> None:
        run("restrict", "--models", "acme/frontier-5", *ORDER, "--require", "{nationality: {all_in: [five_eyes]}}", "--otherwise", "refuse")
        done = run("explain", "--model", "acme/frontier-5", "--nationality", "CN", "--location", "DE")
        assert done.code == 0
        assert done.out.startswith(
            "The request is refused with 451. is-2026-014 (Bureau of Industry and Security, IS-2026/014) is not satisfied: "
        )
        assert ["nationality", "CN", "attested", "given", "in", "the", "question", "-"] in words(done)
        assert any(line[:4] == ["acme/frontier-5", "is-2026-014", "false", "refuse"] for line in words(done))
        assert run("explain", "--model", "acme/frontier-5", "--output", "json").json["verdict"]["outcome"] == "refuse"

    def test_it_tells_grants_and_what_they_waive(self, desk: Desk, run: Run) -> None:
        common = (
            "restrict",
            "--models",
            "acme/frontier-5",
            *ORDER,
            "--require",
            "{nationality: {all_in: [five_eyes]}}",
            "--otherwise",
            "vet:caisi",
        )
        run(*common)
        run(*common, "--mode", "observe")
        run("grants", "create", "--principal", PRINCIPAL, "--programme", "caisi", "--models", "acme/frontier-5", "--reason", "r")
        done = run(
            "explain", "--model", "acme/frontier-5", "--principal", PRINCIPAL, "--us-person", "no", "--address", "8.8.8.8", "--at", "+1h"
        )
        assert done.out.startswith("The request is forwarded, thanks to the grant g_")
        assert "note: the gate keeps no evidence of a token's bearer" in done.out
        assert "note: the address cannot be located" in done.out
        assert "forward by g_" in done.out
        grant = words(done)[-1]
        assert grant[1:] == ["caisi", "active", "yes", "acme/frontier-5"]

    def test_a_directive_that_is_observed_says_so(self, desk: Desk, run: Run) -> None:
        run("withdraw", "acme/frontier-5", *ORDER)
        run("restrict", "--models", "acme/frontier-5", *ORDER, "--require", "{never: true}", "--otherwise", "refuse", "--mode", "observe")
        assert "refuse (observed only)" in run("explain", "--model", "acme/frontier-5").out
