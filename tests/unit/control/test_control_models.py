"""Models and pauses through the admin API."""

import pytest

from frontiergate.store.protocol import ModelPaused, Pause
from tests.unit.control.control_harness import Desk

SMALL = "/admin/v1/models/acme%2Fsmall"


def states(desk: Desk) -> dict[str, str]:
    return {model["id"]: model["state"] for model in desk.ask("GET", "/admin/v1/models", who="viewer").json["models"]}


def put(desk: Desk, model: str, **form: object) -> None:
    directive = {"id": f"d-{len(model)}{model[-1].strip('*')}", "order": {"authority": "A", "reference": "R"}, "models": [model], **form}
    assert desk.ask("POST", "/admin/v1/directives", {"directive": directive, "reason": "r"}).status == 201


def test_a_model_is_in_the_state_of_its_most_restrictive_obstacle(desk: Desk) -> None:
    assert states(desk) == {"acme/frontier-5": "open", "acme/frontier-6": "open", "acme/small": "restricted"}
    put(desk, "acme/frontier-5", require={"us_person": True}, otherwise={"vet": "caisi"})
    assert states(desk)["acme/frontier-5"] == "vetting"
    desk.ask("POST", "/admin/v1/models/acme%2Ffrontier-5/pause", {"reason": "r"})
    assert states(desk)["acme/frontier-5"] == "paused"
    put(desk, "acme/frontier-*", withdraw=True)
    assert states(desk) == {"acme/frontier-5": "withdrawn", "acme/frontier-6": "withdrawn", "acme/small": "restricted"}


def test_a_directive_that_is_only_observed_restricts_nothing(desk: Desk) -> None:
    put(desk, "acme/frontier-5", withdraw=True, mode="observe")
    (model, *_) = desk.ask("GET", "/admin/v1/models").json["models"]
    assert (model["state"], model["directives"]) == ("open", ["d-155"])


def test_the_listing_tells_the_live_sessions_of_each_model(desk: Desk) -> None:
    desk.plane.metrics.configure(models=["acme/small"])
    desk.plane.metrics.live_sessions({"acme/small": 3})
    sessions = {model["id"]: model["live_sessions"] for model in desk.ask("GET", "/admin/v1/models").json["models"]}
    assert sessions == {"acme/frontier-5": 0, "acme/frontier-6": 0, "acme/small": 3}


@pytest.mark.parametrize("path", [SMALL, "/admin/v1/models/acme/small"])
def test_a_pause_is_shown_and_ended(desk: Desk, path: str) -> None:
    paused = desk.ask("POST", f"{path}/pause", {"reason": "it burns"})
    assert (paused.status, paused.json["epoch"], paused.json["paused"]) == (200, 1, True)
    shown = desk.ask("GET", "/admin/v1/models").json["models"][-1]["paused"]
    assert (shown["reason"], shown["by"]) == ("it burns", "olga")
    again = desk.ask("POST", f"{path}/pause", {"reason": "it burns"})
    assert (again.status, again.json["detail"]) == (409, "acme/small is paused already")
    assert desk.ask("POST", f"{path}/resume", {"reason": "out"}).json["paused"] is False
    resumed = desk.ask("POST", f"{path}/resume")
    assert (resumed.status, resumed.json["detail"]) == (409, "acme/small is not paused")


def test_an_unknown_model_is_told_the_nearest(desk: Desk) -> None:
    for verb in ("pause", "resume"):
        answer = desk.ask("POST", f"/admin/v1/models/acme%2Fsmal/{verb}", {"reason": "r"})
        assert (answer.status, answer.json["detail"]) == (404, "there is no model 'acme/smal' in the catalogue; did you mean 'acme/small'?")


def test_a_pause_of_a_model_that_left_the_catalogue_can_be_ended(desk: Desk) -> None:
    pause = Pause(model="gone/model", reason="r", by="olga", since=0.0)
    desk.run(desk.plane.store.append(ModelPaused(pause), actor="olga", reason="r"))
    assert desk.ask("POST", "/admin/v1/models/gone%2Fmodel/resume").status == 200


def test_a_directive_that_cannot_be_compiled_any_more_is_told(desk: Desk) -> None:
    desk.reconfigure(lambda text: text + "country_groups: {friends: [US]}\n")
    put(desk, "acme/frontier-5", require={"nationality": {"all_in": ["friends"]}}, otherwise="refuse")
    desk.reconfigure(lambda text: text)
    answer = desk.ask("GET", "/admin/v1/models")
    assert (answer.status, answer.kind) == (409, "conflict")
    assert "a directive in force cannot be compiled" in answer.json["detail"]
    assert "friends" in desk.ask("GET", "/readyz").json["reasons"][0]
