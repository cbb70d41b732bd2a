"""withdraw, restrict, lift and directives, against a real control plane."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frontiergate.cli.directives import slug
from tests.unit.cli.cli_harness import Shell
from tests.unit.control.control_harness import Desk

Run = Callable[..., Shell]
ORDER = ("--authority", "Bureau of Industry and Security", "--reference", "IS-2026/014")


def test_withdraw_makes_its_id_from_the_reference(desk: Desk, run: Run) -> None:
    done = run("withdraw", "acme/frontier-5", "tag:bio", *ORDER, "--url", "https://x.example", "--criteria", "all")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("is-2026-014 is in force, epoch 1: Under IS-2026/014 (Bureau of Industry and Security), nobody may use")
    stored = desk.ask("GET", "/admin/v1/directives/is-2026-014").json["directive"]
    assert stored == {
        "id": "is-2026-014",
        "order": {
            "authority": "Bureau of Industry and Security",
            "reference": "IS-2026/014",
            "criteria": "all",
            "url": "https://x.example",
        },
        "models": ["acme/frontier-5", {"tag": "bio"}],
        "withdraw": True,
    }
    assert desk.run(desk.plane.store.entries(0))[0].reason == "Bureau of Industry and Security, IS-2026/014"


def test_a_taken_id_gets_the_next_number(desk: Desk, run: Run) -> None:
    for expected in ("is-2026-014", "is-2026-014-2", "is-2026-014-3"):
        assert run("withdraw", "acme/small", *ORDER).out.startswith(f"{expected} is in force")
    chosen = run("withdraw", "acme/small", *ORDER, "--id", "is-2026-014")
    assert (chosen.code, chosen.err) == (
        1,
        "frontiergate: there is a directive 'is-2026-014' already: choose another id, or lift that one first\n",
    )
    assert run("withdraw", "acme/small", "--authority", "A", "--reference", "from file").out.startswith("from-file-2 is in force")


@pytest.mark.parametrize(
    ("reference", "expected"), [("IS-2026-014", "is-2026-014"), (" Nr. 7 / ß ", "nr-7"), ("§§", "directive"), ("x" * 90, "x" * 60)]
)
def test_an_id_from_a_reference_is_one_that_the_gate_takes(reference: str, expected: str) -> None:
    assert slug(reference) == expected


def test_instants_are_sent_whole(desk: Desk, run: Run) -> None:
    assert run("withdraw", "acme/small", *ORDER, "--from", "2998-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00+01:00").out.startswith(
        "is-2026-014 is scheduled"
    )
    assert run("withdraw", "acme/small", *ORDER, "--from", "+2d").code == 0
    listed = run("directives", "list", "--output", "json").json["directives"]
    assert listed[1]["directive"]["from"] == "2998-01-01T00:00:00Z"
    assert listed[2]["state"] == "scheduled"


def test_restrict_takes_yaml_json_or_a_file(desk: Desk, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "require.yaml"
    file.write_text("all_of:\n  - us_person: true\n  - location: {none_in: [bis_d5]}\n")
    common = ("restrict", "--models", "acme/small", "acme/frontier-*", *ORDER, "--otherwise")
    assert run(*common, "vet:caisi", "--require", "{us_person: true}").code == 0
    assert (
        run(*common, "refuse", "--unknown", "vet:caisi", "--mode", "observe", "--allow-presumed", "--require", '{"cohort": "a"}').code == 0
    )
    assert run(*common, "withdraw", "--require", f"@{file}").code == 0
    first, second, third = (d["directive"] for d in desk.ask("GET", "/admin/v1/directives").json["directives"][1:])
    assert (first["require"], first["otherwise"]) == ({"us_person": True}, {"vet": "caisi"})
    assert (second["mode"], second["allow_presumed"], second["unknown"]) == ("observe", True, {"vet": "caisi"})
    assert third["require"]["all_of"][1] == {"location": {"none_in": ["bis_d5"]}}


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("{us_person: true", "--require:1: this "),
        ("us_person", "--require is not a requirement: write for example '{us_person: true}'"),
        ("{us_person: true, us_person: false}", "--require:1: this key stands here twice"),
        ("@/no/such/file", "/no/such/file cannot be read"),
    ],
)
def test_a_requirement_that_cannot_be_read_is_a_usage_error(desk: Desk, run: Run, require: str, message: str) -> None:
    done = run("restrict", "--models", "acme/small", *ORDER, "--otherwise", "refuse", "--require", require)
    assert done.code == 2
    assert done.err.startswith(f"frontiergate: {message}")


def test_what_the_gate_refuses_is_told_in_one_sentence(desk: Desk, run: Run) -> None:
    done = run("withdraw", "acme/smal", *ORDER)
    assert (done.code, done.out) == (1, "")
    assert done.err == "frontiergate: directive.models[0]: no model of the catalogue is 'acme/smal'; did you mean 'acme/small'?\n"
    require = run("restrict", "--models", "acme/small", *ORDER, "--otherwise", "refuse", "--require", "{us_persn: true}")
    assert "directive.require.us_persn: unknown key; did you mean 'us_person'?" in require.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("withdraw", *ORDER), "the following arguments are required: MODEL"),
        (("withdraw", "m", "--authority", "A"), "the following arguments are required: --reference"),
        (("withdraw", "m", *ORDER, "--from", "2026-01-01"), "'2026-01-01' has no time zone: write 2026-01-01T00:00:00Z"),
        (("withdraw", "m", *ORDER, "--until", "soon"), "'soon' is not an instant"),
        (("withdraw", *ORDER, "--wait", "m"), "'m' is not a number of seconds: write models and ids before --wait"),
        (("withdraw", "m", *ORDER, "--wait", "0"), "0 is not between 0 and 3600 seconds"),
        (
            ("restrict", "--models", "m", *ORDER, "--require", "{}", "--otherwise", "vet"),
            "'vet' is none of refuse, withdraw and vet:PROGRAMME",
        ),
        (("explain", "--model", "m", "--us-person", "maybe"), "'maybe' is neither yes nor no"),
        (("nonsense",), "invalid choice: 'nonsense'"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(run: Run, argv: tuple[str, ...], message: str) -> None:
    done = run(*argv)
    assert done.code == 2
    assert message in done.err


def test_lift_ends_a_directive(desk: Desk, run: Run) -> None:
    run("withdraw", "acme/small", *ORDER)
    done = run("lift", "is-2026-014", "--reason", "served its time")
    assert (done.code, done.out) == (0, "is-2026-014 is lifted, epoch 2\n")
    again = run("lift", "is-2026-014")
    assert (again.code, again.err) == (1, "frontiergate: there is no directive 'is-2026-014'\n")
    in_file = run("lift", "from-file")
    assert in_file.err == "frontiergate: from-file is kept in the config file: remove it there and reload (SIGHUP)\n"


def test_directives_are_listed_and_shown(desk: Desk, run: Run) -> None:
    run("withdraw", "acme/small", *ORDER)
    head, config, runtime = run("directives", "list").out.splitlines()
    assert head.split() == ["ID", "SOURCE", "STATE", "MODE", "MEANING"]
    assert config.startswith("from-file    config   in_force  enforce  Under IS-1 (Bureau), ")
    assert runtime.startswith("is-2026-014  runtime  in_force  enforce  Under IS-2026/014 ")
    shown = run("directives", "show", "is-2026-014").out
    assert "is-2026-014 · runtime · in_force · enforce" in shown
    assert shown.splitlines()[-1].endswith("olga  put in force  Bureau of Industry and Security, IS-2026/014")
    assert run("directives", "show", "from-file", "--output", "json").json["history"] == []
    assert run("directives", "show", "from-file").code == 0


class TestWait:
    def test_all_replicas_enforce_it(self, desk: Desk, run: Run) -> None:
        desk.report("host/0", 0)
        desk.report("host/1", 0)

        def enforce() -> None:
            while desk.run(desk.plane.store.head()) == 0:
                pass
            at = desk.run(desk.plane.store.entries(0))[0].at
            desk.report("host/0", 1, at=at + 0.021, severed=200)
            desk.report("host/1", 1, at=at + 0.084, severed=17)

        worker = threading.Thread(target=enforce)
        worker.start()
        done = run("withdraw", "acme/small", *ORDER, "--wait", "15")
        worker.join(10)
        assert done.code == 0
        assert done.out.splitlines()[-1] == "all 2 of 2 enforce epoch 1 after 84 ms · 217 streams severed"

    def test_those_that_do_not_are_named(self, desk: Desk, run: Run) -> None:
        desk.report("host/0", 1, severed=1)
        desk.report("host/1", 0)
        desk.report("host/2", 0, at=time.time() - 60)
        done = run("pause", "acme/small", "--reason", "r", "--wait", "0.3")
        assert done.code == 3
        assert done.out.splitlines()[-1].startswith("1 of 3 enforce epoch 1 after ")
        assert done.out.endswith(" ms · 1 stream severed\n")
        assert "host/1 is behind, it enforces epoch 0\n" in done.err
        assert "host/2 is silent for 60 s, hung or cut off: once its lease is over it admits nobody" in done.err

    def test_one_that_refuses_the_store_says_why(self, desk: Desk, run: Run) -> None:
        desk.report("host/0", 9, lineage="lost", regressed=True, stale=True, problem="the store went back")
        done = run("pause", "acme/small", "--reason", "r", "--wait", "0.1")
        assert done.code == 3
        assert "host/0 is behind, it enforces epoch 9: the store went back\n" in done.err

    def test_progress_shows_while_it_waits(self, desk: Desk, run: Run) -> None:
        desk.report("host/0", 1)
        desk.report("host/1", 0, at=time.time() - 60)
        done = run("pause", "acme/small", "--reason", "r", "--wait", "0.5")
        assert done.err.startswith("1 of 2 enforce epoch 1 · waiting for host/1 …\n")

    def test_without_any_replica_it_says_what_will_happen(self, desk: Desk, run: Run) -> None:
        done = run("pause", "acme/small", "--reason", "r", "--wait", "0.1")
        assert (done.code, done.out.splitlines()[-1]) == (3, "0 of 0 enforce epoch 1")
        assert done.err == "no replica is known: the change is kept and will be enforced by every worker that starts\n"

    def test_scripts_get_one_document(self, desk: Desk, run: Run) -> None:
        desk.report("host/0", 1)
        done = run("pause", "acme/small", "--reason", "r", "--wait", "--output", "json")
        assert (done.code, done.json["epoch"], done.json["enforcement"]["complete"]) == (0, 1, True)

    @pytest.mark.parametrize("output", ["table", "json"])
    def test_a_gate_that_goes_away_while_waiting_does_not_hide_that_the_change_holds(self, desk: Desk, run: Run, output: str) -> None:
        original = desk.plane.store.replicas

        async def gone() -> list[object]:
            desk.plane.trouble = "the disk is gone"
            desk.plane.require_store()
            return list(await original())

        desk.plane.store.replicas = gone  # type: ignore[method-assign, assignment]
        done = run("pause", "acme/small", "--reason", "r", "--wait", "1", "--output", output)
        assert done.code == 3
        assert done.err.startswith(
            "frontiergate: the change is kept (epoch 1), but who enforces it could not be asked: the store cannot be used"
        )
