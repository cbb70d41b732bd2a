"""The story: `make demo`. A day at the gate, each step with the command and what came back; exit status 0 if all was as expected."""

import http.client
import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.demo.call import MESSAGES, Call, Reply, chat
from deploy.demo.people import PEOPLE, tampered
from deploy.demo.stage import EMBARGOED, LOAD_BALANCER, Stage, StageError, set_stage
from deploy.demo.telling import Teller

FRONTIER: Final = chat("gpt-frontier")
_EVENTS: Final = 5  # events of a stream to see before it is cut
_PATIENCE: Final = 10.0  # seconds for counts and records to be written; they take a quarter of one

Seen = tuple[str, str]  # a request's id, and what became of it: the gate's reason, or "none"


class Story:
    """The steps, and what the callers saw in them: metrics and audit must say the same."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self._stage = stage
        self._tell = teller
        self._seen: list[Seen] = []
        self._variables = stage.variables

    def steps(self) -> Sequence[Callable[[], None]]:
        sdk = [self.official_client] if importlib.util.find_spec("openai") else []
        return (
            self.us_person,
            self.foreign_national,
            self.embargoed_address,
            self.unknown_nationality,
            self.grant,
            self.granted,
            *sdk,
            self.withdrawal,
            self.lift,
            self.changed_token,
            self.two_models,
            self.spoofed_address,
            self.pause,
            self.explain,
            self.metrics,
            self.audit,
        )

    # -- who may, and who may not

    def us_person(self) -> None:
        self._tell.step("A US person gets an answer")
        reply = self._call(Call(bearer="TOKEN_ALICE", body=FRONTIER))
        self._tell.expect("answered", reply.status, 200)
        sent = self._stage.upstream.requests[-1]
        carried = [value for name, value in sent.headers if name.lower() == "authorization"]
        self._tell.expect("the provider was shown the gate's own key, not Alice's token", carried, [f"Bearer {self._stage.provider_key}"])
        self._tell.expect("the body went there byte for byte", sent.body.decode(), FRONTIER)

    def foreign_national(self) -> None:
        self._tell.step("A foreign national is refused, and told under which order")
        reply = self._refused(Call(bearer="TOKEN_BRUNO", body=FRONTIER), 451, "policy_nationality")
        self._tell.expect("the order's reference is in the answer", reply.order, "IS-2026-014")

    def embargoed_address(self) -> None:
        self._tell.step("An address in an embargoed country is refused, whoever calls")
        reply = self._refused(Call(bearer="TOKEN_ALICE", body=chat("gpt-open"), source=EMBARGOED), 451, "policy_location")
        self._tell.expect("another order, another reference", reply.order, "TC-7")

    def unknown_nationality(self) -> None:
        self._tell.step("A person of unknown nationality is told to be vetted; a US address proves nothing")
        reply = self._refused(Call(bearer="TOKEN_DANA", body=FRONTIER), 403, "vetting_required")
        self._tell.expect("the answer names the programme", reply.body["frontier_gate"].get("programme"), "caisi")

    def grant(self) -> None:
        self._tell.step("An operator grants access")
        done = self._cli(
            *("grants", "create", "--principal", "https://idp.example|dana", "--programme", "caisi"),
            *("--models", "openai/gpt-frontier", "--reason", "passport seen, case 17", "--wait"),
        )
        self._tell.check("both workers know it", "all 2 of 2 enforce" in done, lambda: done)

    def granted(self) -> None:
        self._tell.step("The same request again: the vetted person gets through")
        self._answered(Call(bearer="TOKEN_DANA", body=FRONTIER))

    def official_client(self) -> None:
        import openai  # 1 s to load; a step of its own, so that the others do not wait for it

        self._tell.step("The official client, unmodified, works through the gate and raises its own typed error")

        def ask(variable: str) -> str:
            line = f'OpenAI(base_url="$GATE/v1", api_key="${variable}").chat.completions.create(model="gpt-frontier", messages=[…])'
            self._tell.command([line], mark=">>>")
            with openai.OpenAI(base_url=f"{self._variables['GATE']}/v1", api_key=self._variables[variable]) as client:
                try:
                    raw = client.chat.completions.with_raw_response.create(
                        model="gpt-frontier", messages=[{"role": "user", "content": "Hello"}]
                    )
                except openai.APIStatusError as error:
                    headers, came = error.response.headers, f"{type(error).__name__}: {error.status_code}, code {error.code}"
                except openai.APIError as error:
                    return f"{type(error).__name__}: {error}"
                else:
                    headers, came = raw.headers, str(raw.parse().choices[0].message.content)
            self._note(dict(headers))
            self._tell.shows(came)
            return came

        self._tell.expect("a Chinese national who is a permanent resident is a US person", ask("TOKEN_CHEN"), "Hello from the model.")
        self._tell.expect("a typed error, not tried again", ask("TOKEN_BRUNO"), "APIStatusError: 451, code policy_nationality")

    # -- an order comes

    def withdrawal(self) -> None:
        self._tell.step("A stream flows; an order withdraws the model; the stream is cut")
        body = json.dumps({"model": "claude-frontier", "max_tokens": 500, "messages": MESSAGES, "stream": True})
        call = Call(bearer="TOKEN_ALICE", path="/v1/messages", headers={"anthropic-version": "2026-06-01"}, body=body)
        self._tell.command([*call.curl(), "&"])
        with call.made(self._variables) as response:
            began = [_event(response) for _ in range(_EVENTS)]
            self._tell.shows(_words(began) + " …")
            self._tell.expect("it flows", response.status, 200)
            done = self._cli(
                *("withdraw", "anthropic/claude-frontier-5", "--authority", "Bureau of Industry and Security"),
                *("--reference", "IS-2026-021", "--wait"),
            )
            report = r"all 2 of 2 enforce epoch \d+ after \d+ ms · 1 stream severed"
            self._tell.check("all replicas, the time and the count are reported", re.search(report, done) is not None, lambda: done)
            *rest, last = [event for event in response.read().decode().split("\n\n") if event]
        self._tell.shows(f"… {_words(rest)}")
        self._tell.shows_lines(last)
        name, _, data = last.partition("\ndata: ")
        self._tell.expect("its last event is the API's own error event", name, "event: error")
        reason = json.loads(data)["frontier_gate"]["reason"]
        self._tell.expect("which says why", reason, "policy_withdrawn")
        self._seen.append((response.headers["x-gate-request-id"], reason))
        self._refused(Call(bearer="TOKEN_ALICE", path="/v1/messages", body=chat("claude-frontier")), 451, "policy_withdrawn")

    def lift(self) -> None:
        self._tell.step("The order is lifted, and the model is back")
        self._cli("lift", "is-2026-021", "--wait")
        self._answered(Call(bearer="TOKEN_ALICE", path="/v1/messages", body=chat("claude-frontier")))

    # -- ways round

    def changed_token(self) -> None:
        self._tell.step("Bruno writes US into his token")
        self._variables["TOKEN_CHANGED"] = tampered(self._variables["TOKEN_BRUNO"], nationalities=["US"])
        self._refused(Call(bearer="TOKEN_CHANGED", body=FRONTIER), 401, "caller_credential_invalid")

    def two_models(self) -> None:
        self._tell.step("Bruno names two models and hopes that gate and provider read different ones")
        body = '{"model": "gpt-open", "messages": [], "model": "gpt-frontier"}'
        self._refused(Call(bearer="TOKEN_BRUNO", body=body), 400, "caller_model_ambiguous")

    def spoofed_address(self) -> None:
        self._tell.step("Someone in the embargoed country claims a US address")
        spoof = "198.51.100.7"
        body = chat("gpt-open")
        self._refused(Call(bearer="TOKEN_ALICE", body=body, source=EMBARGOED, headers={"X-Forwarded-For": spoof}), 451, "policy_location")
        self._tell.shows("and through the load balancer, which writes the true address behind the false one:")
        through = Call(bearer="TOKEN_ALICE", body=body, source=LOAD_BALANCER, headers={"X-Forwarded-For": f"{spoof}, 203.0.113.7"})
        self._refused(through, 451, "policy_location")

    # -- operations

    def pause(self) -> None:
        self._tell.step("A pause is no legal claim: 503, and when to come back")
        self._cli("pause", "openai/gpt-open", "--reason", "provider maintenance", "--wait")
        call = Call(bearer="TOKEN_BRUNO", body=chat("gpt-open"))
        reply = self._refused(call, 503, "operator_paused")
        self._tell.check("Retry-After says when", reply.headers.get("retry-after", "").isdigit(), lambda: str(reply.headers))
        self._cli("resume", "openai/gpt-open", "--wait")
        self._answered(call)

    def explain(self) -> None:
        self._tell.step("Why was Bruno refused?")
        asked = ("--model", "openai/gpt-frontier", "--nationality", "FR", "--us-person", "no", "--address", "127.0.0.1")
        told = self._cli("explain", *asked)
        names = ("is-2026-014", "IS-2026-014", "Bureau of Industry and Security")
        missing = [name for name in names if name not in told]
        self._tell.expect("the directive, the order and the authority are named", missing, [])

    def metrics(self) -> None:
        self._tell.step("The metrics show it all")
        self._tell.command(['curl -s "$FRONTIERGATE_URL/metrics"', "| grep ^frontiergate_requests_total"])
        url = f"{self._variables['FRONTIERGATE_URL']}/metrics"
        seen = Counter(reason for _, reason in self._seen)
        deadline = time.monotonic() + _PATIENCE
        while (counted := _requests_by_reason(text := _get(url))) != seen and time.monotonic() < deadline:
            time.sleep(0.05)
        self._tell.shows_lines("\n".join(line for line in text.splitlines() if line.startswith("frontiergate_requests_total{")))
        self._tell.expect(f"{seen.total()} requests, by reason, exactly as the callers saw them", counted, seen)
        severed = 'frontiergate_severed_sessions_total{model="anthropic/claude-frontier-5",reason="policy_withdrawn"} 1.0'
        self._tell.check("and one severed stream", severed in text, lambda: "no such sample")

    def audit(self) -> None:
        self._tell.step("The audit has one decision record for each request")
        self._tell.command(["cat audit/decisions-*.jsonl"])
        deadline = time.monotonic() + _PATIENCE
        while len(records := _decisions(self._stage)) < len(self._seen) and time.monotonic() < deadline:
            time.sleep(0.05)
        bruno = next((record for record in records if record["id"] == self._seen[1][0]), {})
        self._tell.shows(json.dumps(bruno))
        self._tell.expect("one for each", Counter(record["id"] for record in records), Counter(request for request, _ in self._seen))
        whole = b"\n".join(self._stage.decision_records()).decode()
        people = [ending for person in PEOPLE for ending in (f'|{person.subject}"', f'"{person.subject}"')]
        secrets = [*self._stage.tokens.values(), self._stage.operator_token, self._stage.provider_key]
        self._tell.expect("no token and no name in it", [text for text in (*people, *secrets) if text in whole], [])

    # -- how a step is made

    def _call(self, call: Call) -> Reply:
        self._tell.command(call.curl())
        with call.made(self._variables) as response:
            reply = Reply(response)
        self._note(reply.headers)
        self._tell.shows(f"HTTP/1.1 {reply.status} {reply.phrase}")
        for name in ("x-gate-reason", "retry-after", "link"):
            if name in reply.headers:
                self._tell.shows(f"{name}: {reply.headers[name]}")
        self._tell.shows(reply.text)
        return reply

    def _answered(self, call: Call) -> None:
        self._tell.expect("answered", self._call(call).status, 200)

    def _refused(self, call: Call, status: int, reason: str) -> Reply:
        before = len(self._stage.upstream.requests)
        reply = self._call(call)
        got = (reply.status, reply.reason, len(self._stage.upstream.requests) - before)
        self._tell.expect(f"refused with {status}, and nothing reached the provider", got, (status, reason, 0))
        return reply

    def _note(self, headers: dict[str, str]) -> None:
        self._seen.append((headers["x-gate-request-id"], headers.get("x-gate-reason", "none")))

    def _cli(self, *arguments: str) -> str:
        self._tell.command(["frontiergate", *map(shlex.quote, arguments)])
        done = self._stage.cli(*arguments)
        first, _, tables = (done.stdout + done.stderr).partition("\n\n")
        self._tell.shows(first)
        self._tell.shows_lines(tables)
        if done.returncode:
            self._tell.expect("exit status", done.returncode, 0)
        return done.stdout


def _event(response: http.client.HTTPResponse) -> str:
    """The next event of a stream, without its blank line."""
    lines = []
    while (line := response.readline().decode()).strip():
        lines.append(line)
    return "".join(lines).rstrip()


def _words(events: Sequence[str]) -> str:
    """The text that Anthropic's events carry."""
    texts = [json.loads(event.partition("data: ")[2]).get("delta", {}).get("text", "") for event in events]
    return "".join(texts).strip()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_PATIENCE) as response:  # noqa: S310 - the stage's own http URL
        text: str = response.read().decode()
        return text


def _requests_by_reason(metrics: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for reason, number in re.findall(r'^frontiergate_requests_total\{.*reason="(\w+)".*\} (\S+)$', metrics, re.MULTILINE):
        counted[reason] += int(float(number))
    return counted


def _decisions(stage: Stage) -> list[dict[str, Any]]:
    whole = [json.loads(line) for line in stage.decision_records() if line.endswith(b"}")]  # the last one may be half-written
    return [record for record in whole if record["kind"] == "decision"]


def tell(stage: Stage, teller: Teller) -> int:
    """Every step, whatever became of those before; the exit status."""
    teller.say(f"A gate of two workers on {stage.variables['GATE']}, configured by config/demo.yaml. The callers:")
    for person in PEOPLE:
        teller.say(f"  $TOKEN_{person.subject.upper():6} {person.who}")
    for step in Story(stage, teller).steps():
        try:
            step()
        except (OSError, http.client.HTTPException, ValueError, LookupError, subprocess.SubprocessError) as error:
            teller.expect("the step could be made", f"{type(error).__name__}: {error}", None)
    return teller.end()


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end in good order
    teller = Teller(sys.stdout)
    try:
        with tempfile.TemporaryDirectory(prefix="frontiergate-demo-") as folder, set_stage(Path(folder)) as stage:
            return tell(stage, teller)
    except StageError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything is stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
