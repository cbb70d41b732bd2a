"""Model lists, as the official clients read them."""

import json

import anthropic
import httpx2
import openai

from frontiergate.dialects.registry import DIALECTS
from frontiergate.domain.catalogue import Model

MODELS = [
    Model(id="acme/frontier", names=("frontier", "frontier-2026-11-01"), dialects=("openai", "anthropic"), upstream="secret-upstream"),
    Model(id="plain", dialects=("openai", "anthropic"), upstream="secret-upstream"),
]
NAMES = ["acme/frontier", "frontier", "frontier-2026-11-01", "plain"]


def client(content: bytes) -> httpx2.Client:
    headers = {"content-type": "application/json"}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=content, headers=headers)))


def test_openai_lists_every_name_that_may_be_sent() -> None:
    text = DIALECTS["openai"].list_models(MODELS)
    listed = list(openai.OpenAI(api_key="k", base_url="http://gate.example/v1", http_client=client(text)).models.list())
    assert [model.id for model in listed] == NAMES
    assert [model.owned_by for model in listed] == ["acme"] * 3 + ["frontiergate"]
    for entry in json.loads(text)["data"]:
        openai.types.Model.model_validate(entry)
    assert b"secret-upstream" not in text


def test_openai_shows_one_model() -> None:
    text = DIALECTS["openai"].show_model(MODELS[0])
    shown = openai.OpenAI(api_key="k", base_url="http://gate.example/v1", http_client=client(text)).models.retrieve("acme/frontier")
    assert (shown.id, shown.object, shown.created) == ("acme/frontier", "model", 0)


def test_anthropic_lists_every_name_that_may_be_sent_on_one_page() -> None:
    text = DIALECTS["anthropic"].list_models(MODELS)
    listed = list(anthropic.Anthropic(api_key="k", base_url="http://gate.example", http_client=client(text)).models.list())
    assert [model.id for model in listed] == NAMES
    page = json.loads(text)
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, NAMES[0], NAMES[-1])
    for entry in page["data"]:
        anthropic.types.ModelInfo.model_validate(entry)
    assert b"secret-upstream" not in text


def test_anthropic_shows_one_model() -> None:
    text = DIALECTS["anthropic"].show_model(MODELS[0])
    shown = anthropic.Anthropic(api_key="k", base_url="http://gate.example", http_client=client(text)).models.retrieve("acme/frontier")
    assert (shown.id, shown.type, shown.display_name) == ("acme/frontier", "model", "acme/frontier")


def test_a_list_of_nothing_is_a_list() -> None:
    for name, api in (("openai", "data"), ("anthropic", "data")):
        assert json.loads(DIALECTS[name].list_models([]))[api] == []
    assert json.loads(DIALECTS["anthropic"].list_models([]))["first_id"] is None
