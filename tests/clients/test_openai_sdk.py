"""The official OpenAI client, unmodified, through the gate: it works, and it raises its own typed errors (DIALECTS.md)."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.upstream import Upstream

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(gate: Gate) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.token(), max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def streams_flow(shared_upstream: Upstream) -> Iterator[None]:
    """Streams of the next test flow until it says otherwise."""
    yield
    shared_upstream.going.set()


def asynchronous(gate: Gate, api_key: str | None = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=api_key or gate.token(), max_retries=0)


def as_caller(gate: Gate, **claims: object) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.token(**claims), max_retries=0)


# -- what works


def test_chat_completions_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model="gpt-frontier", messages=MESSAGES)
    assert completion.choices[0].message.content == "Hello."
    assert completion.model == "gpt-frontier"


def test_a_chat_completion_streams_to_its_end(client: openai.OpenAI, shared_upstream: Upstream) -> None:
    words, reason = [], None
    for chunk in client.chat.completions.create(model="gpt-frontier", messages=MESSAGES, stream=True):
        words.append(chunk.choices[0].delta.content)
        reason = chunk.choices[0].finish_reason
        if len(words) == 3:
            shared_upstream.going.clear()
    assert words[:3] == ["word "] * 3
    assert reason == "stop"


def test_completions_answer(client: openai.OpenAI) -> None:
    assert client.completions.create(model="gpt-frontier", prompt="Hi").choices[0].text == "Hello."


def test_responses_answer(client: openai.OpenAI) -> None:
    assert client.responses.create(model="gpt-frontier", input="Hi").output_text == "Hello."


def test_a_response_streams_to_its_end(client: openai.OpenAI, shared_upstream: Upstream) -> None:
    seen = []
    for event in client.responses.create(model="gpt-frontier", input="Hi", stream=True):
        seen.append(event.type)
        if len(seen) == 3:
            shared_upstream.going.clear()
    assert set(seen) == {"response.output_text.delta"}
    assert len(seen) >= 3


def test_embeddings_answer(client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="gpt-frontier", input="Hi", encoding_format="float").data[0].embedding == [0.1, 0.2]


def test_the_list_of_models_is_the_callers(gate: Gate, client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"openai/gpt-frontier", "gpt-frontier", "openai/gpt-open", "gpt-open"}
    with as_caller(gate, sub="foreigner", us_person=False) as foreigner:
        assert {model.id for model in foreigner.models.list()} == {"openai/gpt-open", "gpt-open"}


def test_a_model_is_retrieved_by_name_and_by_id(client: openai.OpenAI) -> None:
    assert client.models.retrieve("gpt-frontier").id == "openai/gpt-frontier"
    assert client.models.retrieve("openai/gpt-frontier").id == "openai/gpt-frontier"


def test_an_api_key_of_the_gate_works_as_the_clients_own(gate: Gate) -> None:
    _, secret = gate.new_key()
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=secret, max_retries=0) as client:
        assert client.chat.completions.create(model="gpt-frontier", messages=MESSAGES).choices[0].message.content == "Hello."


def test_the_asynchronous_client_works_too(gate: Gate, shared_upstream: Upstream) -> None:
    async def calls() -> None:
        async with asynchronous(gate) as client:
            completion = await client.chat.completions.create(model="gpt-frontier", messages=MESSAGES)
            assert completion.choices[0].message.content == "Hello."
            assert (await client.completions.create(model="gpt-frontier", prompt="Hi")).choices[0].text == "Hello."
            assert (await client.responses.create(model="gpt-frontier", input="Hi")).output_text == "Hello."
            embedding = await client.embeddings.create(model="gpt-frontier", input="Hi", encoding_format="float")
            assert embedding.data[0].embedding == [0.1, 0.2]
            assert "gpt-frontier" in {model.id async for model in client.models.list()}
            assert (await client.models.retrieve("gpt-frontier")).id == "openai/gpt-frontier"

    asyncio.run(calls())


@pytest.mark.parametrize("operation", ["chat", "responses"])
def test_the_asynchronous_client_streams_to_the_end(gate: Gate, shared_upstream: Upstream, operation: str) -> None:
    async def read() -> int:
        async with asynchronous(gate) as client:
            if operation == "chat":
                stream = await client.chat.completions.create(model="gpt-frontier", messages=MESSAGES, stream=True)
            else:
                stream = await client.responses.create(model="gpt-frontier", input="Hi", stream=True)
            seen = 0
            async for _ in stream:
                seen += 1
                if seen == 3:
                    shared_upstream.going.clear()
            return seen

    assert asyncio.run(read()) >= 3


# -- what is refused


def test_401_raises_authentication_error(gate: Gate) -> None:
    with (
        openai.OpenAI(base_url=f"{gate.url}/v1", api_key="fg_nobody", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.chat.completions.create(model="gpt-frontier", messages=MESSAGES)
    assert raised.value.code == "caller_credential_invalid"


def test_403_raises_permission_denied_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.chat.completions.create(model="gpt-vetted", messages=MESSAGES)
    assert raised.value.code == "vetting_required"
    assert raised.value.response.json()["frontier_gate"]["programme"] == "caisi"


def test_404_raises_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="gpt-nobody-knows", messages=MESSAGES)
    assert raised.value.code == "caller_model_unknown"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nobody-knows")
    with pytest.raises(openai.NotFoundError) as raised:
        client.moderations.create(input="Hi")
    assert raised.value.code == "caller_operation_unknown"


def test_451_raises_api_status_error_with_directive_and_order(gate: Gate) -> None:
    with as_caller(gate, sub="foreigner", us_person=False) as client, pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="gpt-frontier", messages=MESSAGES)
    error = raised.value
    assert error.status_code == 451
    assert error.code == "policy_us_person"
    said = error.response.json()["frontier_gate"]
    assert said["directive"] == "is-2026-014"
    assert said["order"]["reference"] == "IS-2026-014"
    assert said["order"]["authority"] == "Bureau of Industry and Security"
    assert "IS-2026-014" in error.message


@pytest.mark.parametrize(
    ("model", "claims", "error"),
    [
        ("gpt-vetted", {}, openai.PermissionDeniedError),
        ("gpt-nobody-knows", {}, openai.NotFoundError),
        ("gpt-frontier", {"sub": "foreigner", "us_person": False}, openai.APIStatusError),
        ("gpt-frontier", {"aud": "another-service"}, openai.AuthenticationError),
    ],
)
def test_the_asynchronous_client_raises_the_same(gate: Gate, model: str, claims: dict, error: type[openai.APIStatusError]) -> None:
    async def call() -> None:
        async with asynchronous(gate, gate.token(**claims)) as client:
            await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)

    with pytest.raises(error) as raised:
        asyncio.run(call())
    assert type(raised.value) is error


def test_refusals_are_not_hammered(gate: Gate) -> None:
    """A paused model is a 503, which the client retries unless it is told not to."""
    with gate.paused("openai/gpt-open"), openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.token()) as client:
        assert client.max_retries == 2
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model="gpt-open", messages=MESSAGES)
    assert raised.value.status_code == 503
    assert raised.value.response.headers["x-should-retry"] == "false"
    request_id = raised.value.response.headers["x-gate-request-id"]
    records = gate.wait_decisions(lambda records: any(r["id"] == request_id for r in records))
    assert len([r for r in records if r["kind"] == "decision" and r.get("reason") == "operator_paused"]) == 1


# -- severed


@pytest.mark.parametrize("operation", ["chat", "responses"])
def test_a_withdrawal_raises_api_error_in_a_flowing_stream(gate: Gate, client: openai.OpenAI, operation: str) -> None:
    if operation == "chat":
        stream = client.chat.completions.create(model="gpt-frontier", messages=MESSAGES, stream=True)
    else:
        stream = client.responses.create(model="gpt-frontier", input="Hi", stream=True)
    next(stream)
    with gate.in_force("wd-1", "openai/gpt-frontier"), pytest.raises(openai.APIError) as raised:
        for _ in stream:
            pass
    assert not isinstance(raised.value, openai.APIConnectionError), "an error event, not a cut connection"
    assert raised.value.code == "policy_withdrawn"
    assert "WD-1" in raised.value.message
    assert "BIS" in raised.value.message


@pytest.mark.parametrize("operation", ["chat", "responses"])
def test_a_withdrawal_raises_api_error_in_the_asynchronous_client(gate: Gate, operation: str) -> None:
    async def flow() -> None:
        async with asynchronous(gate) as client:
            if operation == "chat":
                stream = await client.chat.completions.create(model="gpt-frontier", messages=MESSAGES, stream=True)
            else:
                stream = await client.responses.create(model="gpt-frontier", input="Hi", stream=True)
            await anext(stream)
            await asyncio.to_thread(gate.put_in_force, "wd-2", "openai/gpt-frontier")
            async for _ in stream:
                pass

    try:
        with pytest.raises(openai.APIError) as raised:
            asyncio.run(flow())
    finally:
        gate.wait_enforced(gate.lift("wd-2")["epoch"])
    assert raised.value.code == "policy_withdrawn"
    assert "WD-2" in raised.value.message


def test_the_end_of_a_key_ends_its_stream(gate: Gate) -> None:
    key, secret = gate.new_key()
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=secret, max_retries=0) as client:
        stream = client.chat.completions.create(model="gpt-frontier", messages=MESSAGES, stream=True)
        next(stream)
        assert gate.admin("POST", f"/admin/v1/keys/{key}/revoke", {"reason": "lost"}).status == 200
        with pytest.raises(openai.APIError) as raised:
            for _ in stream:
                pass
        assert raised.value.code == "caller_credential_invalid"
        wait_until(lambda: gate.call(token=secret).status, lambda status: status == 401)
