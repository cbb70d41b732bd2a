"""Closed-loop load by wrk: so many connections, each with one request under way. Every answer must be a 200."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, BenchError

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %f, "p50_us": %f, "p99_us": %f, "bad": %d, "broken": %d}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
"""


_IN_TURN = """
local tokens, turn = {}, 0
for line in io.lines([==[%s]==]) do tokens[#tokens + 1] = "Bearer " .. line end
request = function()
  turn = turn %% #tokens + 1
  wrk.headers["authorization"] = tokens[turn]
  return wrk.format()
end
"""


class Load(msgspec.Struct, frozen=True):
    """What a load did and saw."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    bad: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def script(path: Path, body: bytes, headers: Mapping[str, str], tokens: Path | None = None) -> Path:
    """A wrk script that sends this request again and again; `tokens`, a file with one a line, are presented in turn."""
    given = "".join(f"wrk.headers[ [==[{name}]==] ] = [==[{value}]==]\n" for name, value in headers.items())
    request = f'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n{given}wrk.body = [==[{body.decode()}]==]\n'
    path.write_text(request + (_IN_TURN % tokens if tokens else "") + _DONE)
    return path


def load(port: int, script: Path, seconds: float, connections: int, *, core: int = LOAD_CORE, timeout: int = 30) -> Load:
    """Run wrk for whole `seconds`. Raises BenchError unless every answer is a 200."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    argv = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={timeout}s"]
    ran = subprocess.run([*argv, "-s", str(script), url], capture_output=True, text=True, check=False)
    line = next((line for line in ran.stdout.splitlines() if line.startswith("{")), None)
    if line is None:
        raise BenchError(f"wrk said nothing: {ran.stdout}{ran.stderr}")
    seen = msgspec.convert(json.loads(line), Load)
    if seen.bad or seen.broken or not seen.requests:
        raise BenchError(f"not every answer was a 200: {seen}")
    return seen
