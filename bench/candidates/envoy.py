"""Envoy: routing only, with its own filters for comparable checks, and with an external authoriser.

The filters do less than the gate: no vetting grants, one rule instead of 50 directives, and no record of decisions unless logged.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench.candidates.candidate import GATED, Candidate, Setup
from bench.processes import Command, free_port
from bench.tools import envoy
from bench.world import AUDIENCE, ISSUER, MODEL, World

_API = "type.googleapis.com/envoy.extensions"
_JWT = "envoy.filters.http.jwt_authn"


def _filter(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_API}.filters.http.{name}.v3.{kind}", **settings}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    limits = {"thresholds": [{"max_connections": 20_000, "max_pending_requests": 20_000, "max_requests": 20_000}]}
    return {
        "name": name,
        "type": "STATIC",
        "circuit_breakers": limits,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _jwt(world: World) -> dict[str, Any]:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "forward": False,
        "payload_in_metadata": "claims",
        "local_jwks": {"inline_string": json.dumps(world.idp.jwks())},
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}]
    return _filter("jwt_authn", "JwtAuthentication", providers={"idp": provider}, rules=rules)


def _model() -> dict[str, Any]:
    rule = {
        "selectors": [{"key": "model"}],
        "on_present": {"metadata_namespace": "gate", "key": "model"},
        "on_missing": {"metadata_namespace": "gate", "key": "model", "value": "none", "preserve_existing_metadata_value": False},
    }
    return _filter("json_to_metadata", "JsonToMetadata", request_rules={"rules": [rule]})


def _geoip(world: World) -> dict[str, Any]:
    provider = {
        "name": "envoy.geoip_providers.maxmind",
        "typed_config": {
            "@type": f"{_API}.geoip_providers.maxmind.v3.MaxMindConfig",
            "common_provider_config": {"geo_field_keys": {"country": "x-geo-country"}},
            "country_db_path": world.database,
        },
    }
    return _filter("geoip", "Geoip", provider=provider)


def _rbac() -> dict[str, Any]:
    """US persons of US nationality, not from China, and only this model."""

    def claim(name: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"filter": _JWT, "path": [{"key": "claims"}, {"key": name}], "value": value}}

    permission = {"metadata": {"filter": "gate", "path": [{"key": "model"}], "value": {"string_match": {"exact": MODEL}}}}
    us_person = claim("us_person", {"bool_match": True})
    national = claim("nationalities", {"list_match": {"one_of": {"string_match": {"exact": "US"}}}})
    abroad = {"not_id": {"header": {"name": "x-geo-country", "string_match": {"exact": "CN"}}}}
    policy = {"permissions": [permission], "principals": [{"and_ids": {"ids": [us_person, national, abroad]}}]}
    return _filter("rbac", "RBAC", rules={"action": "ALLOW", "policies": {"us_persons": policy}})


def _extauthz(port: int) -> dict[str, Any]:
    allowed = {"patterns": [{"exact": "authorization"}, {"exact": "content-type"}]}
    service = {
        "server_uri": {"uri": f"http://127.0.0.1:{port}", "cluster": "authz", "timeout": "5s"},
        "authorization_request": {"allowed_headers": allowed},
    }
    body = {"max_request_bytes": 65536, "allow_partial_message": False}
    return _filter("ext_authz", "ExtAuthz", with_request_body=body, http_service=service)


def _access_log(path: Path) -> list[dict[str, Any]]:
    fields = {"at": "%START_TIME%", "status": "%RESPONSE_CODE%", "model": "%DYNAMIC_METADATA(gate:model)%"}
    fields |= {"subject": f"%DYNAMIC_METADATA({_JWT}:claims:sub)%", "address": "%DOWNSTREAM_REMOTE_ADDRESS%", "bytes": "%BYTES_SENT%"}
    config = {"@type": f"{_API}.access_loggers.file.v3.FileAccessLog", "path": str(path), "log_format": {"json_format": fields}}
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]


def _command(world: World, port: int, filters: list[dict[str, Any]], more: list[dict[str, Any]], log: Path | None = None) -> Command:
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "use_remote_address": True,
        "stream_idle_timeout": "600s",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "600s"}}]}
            ]
        },
        "http_filters": [*filters, _filter("router", "Router")],
        **({"access_log": _access_log(log)} if log else {}),
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    resources = {"listeners": [{"address": _address(port), "filter_chains": [chain]}], "clusters": [_cluster("up", world.port), *more]}
    path = world.directory / f"envoy-{port}.json"
    path.write_text(json.dumps({"static_resources": resources}))
    return Command((str(envoy()), "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"))


def _routing(world: World, port: int) -> Setup:
    return Setup((_command(world, port, [], []),), world.bearer())


def _checks(world: World) -> list[dict[str, Any]]:
    return [_jwt(world), _model(), _geoip(world), _rbac()]


def _gated(world: World, port: int) -> Setup:
    return Setup((_command(world, port, _checks(world), []),), world.bearer())


def _gated_logged(world: World, port: int) -> Setup:
    return Setup((_command(world, port, _checks(world), [], world.directory / "envoy-access.log"),), world.bearer())


def _external(world: World, port: int) -> Setup:
    authorizer_port = free_port()
    authorizer = Command((sys.executable, "-m", "bench.candidates.authorizer", str(world.directory), str(authorizer_port)))
    proxy = _command(world, port, [_extauthz(authorizer_port)], [_cluster("authz", authorizer_port)])
    return Setup((authorizer, proxy), world.bearer())


ROUTING = Candidate("envoy", "Envoy, routing only", _routing)
CHECKING = Candidate("envoy_gated", "Envoy: jwt_authn (cached), json_to_metadata, geoip, RBAC", _gated, GATED)
LOGGING = Candidate("envoy_gated_logged", "the same with an access log in JSON", _gated_logged, GATED)
EXTERNAL = Candidate("envoy_extauthz", "Envoy, ext_authz to an aiohttp authoriser", _external, ("foreign", "tampered"))
