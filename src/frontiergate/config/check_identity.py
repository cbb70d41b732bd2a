"""Checks of who may call (issuers, headers) and who may operate (operators' tokens)."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from frontiergate.config.check_network import check_field_name, check_file, check_url, is_loopback
from frontiergate.config.load import is_url, secret
from frontiergate.config.problem import Problem, error, warning
from frontiergate.config.schema import Config, Issuer, Operator
from frontiergate.errors import ConfigError

API_KEY_ISSUER = "key"  # principals' ids are `issuer|subject`, and `key|id` for API keys
_MAX_LEEWAY = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_identity(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Everything that concerns credentials of callers and operators."""
    identity = config.identity
    seen: set[str] = set()
    for index, issuer in enumerate(identity.issuers):
        yield from _issuer(f"identity.issuers[{index}]", issuer, seen)
    if identity.leeway > _MAX_LEEWAY:
        yield error("identity.leeway", f"is more than {_MAX_LEEWAY:g}s, so that expired tokens would live on; lower it and mend the clocks")
    if identity.header is not None:
        yield from check_field_name("identity.header", identity.header)
    if not identity.issuers and not identity.api_keys:
        yield warning("identity", "accepts no credential, so that every request is refused; add an issuer or set api_keys: true")
    yield from _operators(config.control.operators, environ)


def _issuer(path: str, issuer: Issuer, seen: set[str]) -> Iterator[Problem]:
    if "|" in issuer.issuer:
        yield error(f"{path}.issuer", "holds '|', which parts issuer from subject in principals' ids; this issuer cannot be used")
    if issuer.issuer == API_KEY_ISSUER:
        yield error(
            f"{path}.issuer",
            f"{issuer.issuer!r} is how API keys' principals begin, so its subjects could pass for them; name it by its URL",
        )
    if issuer.issuer in seen:
        yield error(f"{path}.issuer", f"{issuer.issuer!r} is listed twice; keep one entry, with all its audiences")
    seen.add(issuer.issuer)
    if not is_url(issuer.jwks):
        yield from check_file(f"{path}.jwks", issuer.jwks)
        return
    problems = list(check_url(f"{path}.jwks", issuer.jwks))
    yield from problems
    if not problems and not issuer.jwks.lower().startswith("https:") and not is_loopback(urlsplit(issuer.jwks).hostname or ""):
        yield error(f"{path}.jwks", "is fetched without TLS, so that anyone on the way could issue tokens; use https")


def _operators(operators: tuple[Operator, ...], environ: Mapping[str, str]) -> Iterator[Problem]:
    if not operators:
        yield warning("control.operators", "is empty, so that nobody can change policy at runtime; add an operator")
    names: set[str] = set()
    digests: dict[str, str] = {}
    for index, operator in enumerate(operators):
        path = f"control.operators[{index}]"
        if operator.name in names:
            yield error(f"{path}.name", f"{operator.name!r} is listed twice; give each operator a name of their own")
        names.add(operator.name)
        sources = [operator.token_sha256, operator.token_env, operator.token_file]
        if sum(source is not None for source in sources) != 1:
            yield error(path, "needs exactly one of token_sha256, token_env and token_file; name where the token is")
            continue
        try:
            digest = token_digest(operator, environ)
        except ConfigError as problem:
            yield warning(path, str(problem))
            continue
        if not _SHA256.fullmatch(digest):
            yield error(f"{path}.token_sha256", "is not a SHA-256; write the token's digest as 64 hexadecimal digits")
        elif digest in digests:
            yield error(path, f"has the same token as {digests[digest]!r}, so that one could act as the other; give each their own")
        digests.setdefault(digest, operator.name)


def token_digest(operator: Operator, environ: Mapping[str, str]) -> str:
    """The SHA-256 of an operator's token, in lower-case hexadecimal. Raises ConfigError where its source gives none."""
    if operator.token_sha256 is not None:
        return operator.token_sha256.lower()
    return hashlib.sha256(secret(operator.token_env, operator.token_file, environ).encode()).hexdigest()
