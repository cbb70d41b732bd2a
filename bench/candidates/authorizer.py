"""What a Python shop would write today: an aiohttp authoriser for Envoy's ext_authz, with verified tokens cached and one rule.

Run as `python -m bench.candidates.authorizer DIRECTORY PORT`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jwt
import uvloop
from aiohttp import web

from bench.world import AUDIENCE, ISSUER, MODEL


def application(jwks: dict[str, Any]) -> web.Application:
    """Answers 200 to a US person who asks for the model, else 401 or 403."""
    key = jwt.PyJWK(jwks["keys"][0]).key
    seen: dict[str, dict[str, Any]] = {}

    async def check(request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = seen.get(token)
        if claims is None:
            try:
                claims = seen[token] = jwt.decode(token, key, ["RS256"], audience=AUDIENCE, issuer=ISSUER)
            except jwt.InvalidTokenError:
                return web.Response(status=401)
        admitted = json.loads(await request.read())["model"] == MODEL and claims.get("us_person") is True
        return web.Response(status=200 if admitted else 403)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", check)
    return app


if __name__ == "__main__":
    uvloop.install()
    keys = json.loads((Path(sys.argv[1]) / "jwks.json").read_text())
    web.run_app(application(keys), host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
