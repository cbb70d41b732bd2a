"""The official Anthropic client, unmodified, through the gate: it works, and it raises its own typed errors (DIALECTS.md)."""

import asyncio
from collections.abc import Iterator

import anthropic
import pytest

from tests.fixtures.gate import Gate
from tests.fixtures.upstream import Upstream

ASK = {"model": "claude-frontier", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
COUNT = {key: value for key, value in ASK.items() if key != "max_tokens"}


@pytest.fixture
def client(gate: Gate) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gate.url, api_key=gate.token(), max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def streams_flow(shared_upstream: Upstream) -> Iterator[None]:
    """Streams of the next test flow until it says otherwise."""
    yield
    shared_upstream.going.set()


def asynchronous(gate: Gate, api_key: str | None = None) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gate.url, api_key=api_key or gate.token(), max_retries=0)


def as_caller(gate: Gate, **claims: object) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.url, api_key=gate.token(**claims), max_retries=0)


# -- what works


def test_messages_answer(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASK)
    assert message.content[0].text == "Hello."
    assert message.model == "claude-frontier"


def test_a_raw_stream_flows_to_its_end(client: anthropic.Anthropic, shared_upstream: Upstream) -> None:
    seen = []
    for event in client.messages.create(**ASK, stream=True):
        seen.append(event.type)
        if len(seen) == 4:
            shared_upstream.going.clear()
    assert seen[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert seen[-1] == "message_stop"


def test_the_stream_helper_accumulates_the_whole_message(client: anthropic.Anthropic, shared_upstream: Upstream) -> None:
    with client.messages.stream(**ASK) as stream:
        words = []
        for text in stream.text_stream:
            words.append(text)
            if len(words) == 3:
                shared_upstream.going.clear()
        message = stream.get_final_message()
    assert message.content[0].text == "".join(words)
    assert message.stop_reason == "end_turn"


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(**COUNT).input_tokens == 3


def test_the_list_of_models_is_the_callers(gate: Gate, client: anthropic.Anthropic) -> None:
    frontier, everyone = {"anthropic/claude-frontier-5", "claude-frontier"}, {"openai/gpt-open", "gpt-open"}
    assert {model.id for model in client.models.list()} == frontier | everyone
    with as_caller(gate, sub="foreigner", us_person=False) as foreigner:
        assert {model.id for model in foreigner.models.list()} == everyone


def test_a_model_is_retrieved(client: anthropic.Anthropic) -> None:
    assert client.models.retrieve("claude-frontier").id == "anthropic/claude-frontier-5"


def test_an_api_key_of_the_gate_works_as_the_clients_own(gate: Gate) -> None:
    _, secret = gate.new_key()
    with anthropic.Anthropic(base_url=gate.url, api_key=secret, max_retries=0) as client:
        assert client.messages.create(**ASK).content[0].text == "Hello."


def test_a_bearer_token_works_as_well_as_an_api_key(gate: Gate) -> None:
    with anthropic.Anthropic(base_url=gate.url, auth_token=gate.token(), max_retries=0) as client:
        assert client.messages.create(**ASK).content[0].text == "Hello."


def test_the_asynchronous_client_works_too(gate: Gate, shared_upstream: Upstream) -> None:
    async def calls() -> None:
        async with asynchronous(gate) as client:
            assert (await client.messages.create(**ASK)).content[0].text == "Hello."
            assert (await client.messages.count_tokens(**COUNT)).input_tokens == 3
            assert "claude-frontier" in {model.id async for model in client.models.list()}
            async with client.messages.stream(**ASK) as stream:
                seen = 0
                async for _ in stream.text_stream:
                    seen += 1
                    if seen == 3:
                        shared_upstream.going.clear()
                assert (await stream.get_final_message()).stop_reason == "end_turn"

    asyncio.run(calls())


# -- what is refused


def test_401_raises_authentication_error(gate: Gate) -> None:
    with (
        anthropic.Anthropic(base_url=gate.url, api_key="fg_nobody", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as raised,
    ):
        client.messages.create(**ASK)
    assert raised.value.body["error"]["type"] == "authentication_error"
    assert raised.value.body["frontier_gate"]["reason"] == "caller_credential_invalid"


def test_403_raises_permission_denied_error(gate: Gate, client: anthropic.Anthropic) -> None:
    vetting = {"require": {"never": True}, "otherwise": {"vet": "caisi"}}
    with gate.in_force("ur-2", "anthropic/*", **vetting), pytest.raises(anthropic.PermissionDeniedError) as raised:
        client.messages.create(**ASK)
    assert raised.value.body["frontier_gate"]["reason"] == "vetting_required"
    assert raised.value.body["frontier_gate"]["programme"] == "caisi"


def test_404_raises_not_found_error(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(**{**ASK, "model": "claude-nobody-knows"})
    assert raised.value.body["frontier_gate"]["reason"] == "caller_model_unknown"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**ASK, "model": "gpt-frontier"})  # a model, but not one of this dialect
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.batches.list()
    assert raised.value.body["frontier_gate"]["reason"] == "caller_operation_unknown"


def test_451_raises_api_status_error_with_directive_and_order(gate: Gate) -> None:
    with as_caller(gate, sub="foreigner", us_person=False) as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**ASK)
    error = raised.value
    assert error.status_code == 451
    said = error.body["frontier_gate"]
    assert said["reason"] == "policy_us_person"
    assert said["directive"] == "is-2026-014"
    assert said["order"]["reference"] == "IS-2026-014"
    assert said["order"]["authority"] == "Bureau of Industry and Security"
    assert "IS-2026-014" in error.body["error"]["message"]


@pytest.mark.parametrize(
    ("model", "claims", "error"),
    [
        ("claude-nobody-knows", {}, anthropic.NotFoundError),
        ("claude-frontier", {"sub": "foreigner", "us_person": False}, anthropic.APIStatusError),
        ("claude-frontier", {"aud": "another-service"}, anthropic.AuthenticationError),
    ],
)
def test_the_asynchronous_client_raises_the_same(gate: Gate, model: str, claims: dict, error: type[anthropic.APIStatusError]) -> None:
    async def call() -> None:
        async with asynchronous(gate, gate.token(**claims)) as client:
            await client.messages.create(**{**ASK, "model": model}, stream=True)

    with pytest.raises(error) as raised:
        asyncio.run(call())
    assert type(raised.value) is error


def test_refusals_are_not_hammered(gate: Gate) -> None:
    """A paused model is a 503, which the client retries unless it is told not to."""
    with gate.paused("anthropic/claude-frontier-5"), anthropic.Anthropic(base_url=gate.url, api_key=gate.token()) as client:
        assert client.max_retries == 2
        with pytest.raises(anthropic.APIStatusError) as raised:
            client.messages.create(**ASK)
    assert raised.value.status_code == 503
    request_id = raised.value.response.headers["x-gate-request-id"]
    records = gate.wait_decisions(lambda records: any(r["id"] == request_id for r in records))
    assert len([r for r in records if r["kind"] == "decision" and r.get("reason") == "operator_paused"]) == 1


# -- severed


def test_a_withdrawal_raises_api_status_error_in_a_flowing_stream(gate: Gate, client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as stream:
        next(stream.text_stream)
        with gate.in_force("wd-1", "anthropic/claude-frontier-5"), pytest.raises(anthropic.APIStatusError) as raised:
            for _ in stream.text_stream:
                pass
    said = raised.value.body["frontier_gate"]
    assert said["reason"] == "policy_withdrawn"
    assert said["directive"] == "wd-1"
    assert said["order"] == {"authority": "BIS", "reference": "WD-1"}
    assert "WD-1" in str(raised.value)


def test_a_withdrawal_raises_api_status_error_in_the_asynchronous_client(gate: Gate) -> None:
    async def flow() -> None:
        async with asynchronous(gate) as client, client.messages.stream(**ASK) as stream:
            await anext(stream.text_stream)
            await asyncio.to_thread(gate.put_in_force, "wd-2", "anthropic/claude-frontier-5")
            async for _ in stream.text_stream:
                pass

    try:
        with pytest.raises(anthropic.APIStatusError) as raised:
            asyncio.run(flow())
    finally:
        gate.wait_enforced(gate.lift("wd-2")["epoch"])
    assert raised.value.body["frontier_gate"]["directive"] == "wd-2"
