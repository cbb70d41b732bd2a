"""The AI gateways that people run today, routing only: LiteLLM and Portkey. Both parse and rebuild each request; neither gates it."""

import json

from bench.candidates.candidate import Candidate, Setup
from bench.processes import Command
from bench.tools import litellm, portkey
from bench.world import MODEL, World

_MASTER_KEY = "sk-bench"


def _litellm(world: World, port: int) -> Setup:
    parameters = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{world.port}/v1", "api_key": "sk-upstream"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": _MASTER_KEY},
        "litellm_settings": {"telemetry": False},
    }
    path = world.directory / "litellm.yaml"
    path.write_text(json.dumps(config))
    argv = (str(litellm()), "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    return Setup((Command(argv, environment),), world.bearer(_MASTER_KEY))


def _portkey(world: World, port: int) -> Setup:
    command = Command(("node", str(portkey()), f"--port={port}", "--headless"), {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"})
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{world.port}/v1"}
    return Setup((command,), {**headers, **world.bearer("sk-upstream")})


LITELLM = Candidate("litellm", "LiteLLM proxy, routing only", _litellm, heavy=True)
PORTKEY = Candidate("portkey", "Portkey gateway, routing only", _portkey, heavy=True)
