"""Operators: who may use the control plane, by bearer token, and what their roles allow (DESIGN 7; RFC 6750)."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec

from frontiergate.config.load import secret
from frontiergate.config.schema import Control
from frontiergate.config.schema import Operator as OperatorConfig
from frontiergate.control.problems import Problem
from frontiergate.errors import ConfigError

IMPLIED: dict[str, frozenset[str]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"operator", "viewer"}),
    "reviewer": frozenset({"reviewer", "viewer"}),
    "auditor": frozenset({"auditor", "viewer"}),
    "admin": frozenset({"admin", "operator", "reviewer", "auditor", "viewer"}),
}
_CHALLENGE = 'Bearer realm="frontier-gate control"'
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")  # RFC 6750 section 2.1: b64token
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Operator(msgspec.Struct, frozen=True):
    """Who acts. `roles` are all that they have, implied ones included."""

    name: str
    given: tuple[str, ...]
    roles: frozenset[str]

    def require(self, role: str) -> None:
        """Raises Problem (403) where `role` is not among the roles."""
        if role not in self.roles:
            raise Problem(
                "forbidden",
                f"{self.name} has the role {' and '.join(self.given)}; this needs the role {role}"
                f"{'' if role == 'admin' else ' (or admin)'}: ask whoever keeps control.operators in the config file",
            )


class Operators:
    """All operators, by the SHA-256 of their tokens."""

    def __init__(self, by_digest: Mapping[bytes, Operator]) -> None:
        self._by_digest = dict(by_digest)

    def identify(self, authorization: Sequence[str]) -> Operator:
        """The operator whose token the Authorization fields carry; raises Problem (401)."""
        if not authorization:
            raise _unauthenticated("send Authorization: Bearer and an operator's token (control.operators in the config file)", "")
        match = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
        if match is None:
            raise _unauthenticated("the Authorization header is not one bearer token", "invalid_request")
        sent = hashlib.sha256(match[1].encode()).digest()
        found = None
        for digest, operator in self._by_digest.items():  # all are compared: the time taken does not tell which one came close
            if hmac.compare_digest(digest, sent):
                found = operator
        if found is None:
            raise _unauthenticated("no operator has this token: check FRONTIERGATE_TOKEN and control.operators", "invalid_token")
        return found


def load_operators(control: Control, environ: Mapping[str, str]) -> Operators:
    """Read every operator's token from where the config says; raises ConfigError that names each one that cannot be used."""
    by_digest: dict[bytes, Operator] = {}
    problems: list[str] = []
    for position, operator in enumerate(control.operators):
        where = f"control.operators[{position}] ({operator.name})"
        try:
            digest = _digest(operator, environ)
        except ConfigError as error:
            problems.append(f"{where}: {error}")
            continue
        if digest in by_digest:
            problems.append(f"{where}: has the same token as {by_digest[digest].name}: give each operator their own")
            continue
        roles = frozenset().union(*(IMPLIED[role] for role in operator.roles))
        by_digest[digest] = Operator(operator.name, operator.roles, roles)
    if problems:
        raise ConfigError(problems)
    return Operators(by_digest)


def _digest(operator: OperatorConfig, environ: Mapping[str, str]) -> bytes:
    """Raises ConfigError."""
    if operator.token_sha256 is None:
        token = secret(operator.token_env, operator.token_file, environ)
        if not _BEARER.fullmatch(f"Bearer {token}"):
            raise ConfigError(["the token has characters that a bearer token cannot have; make one with openssl rand -hex 32"])
        return hashlib.sha256(token.encode()).digest()
    if operator.token_env is not None or operator.token_file is not None:
        raise ConfigError(["give exactly one of token_sha256, token_env and token_file"])
    if not _SHA256.fullmatch(operator.token_sha256):
        raise ConfigError(["token_sha256 is not 64 hexadecimal digits; make it with printf %s TOKEN | sha256sum"])
    return bytes.fromhex(operator.token_sha256)


def _unauthenticated(detail: str, error: str) -> Problem:
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE  # RFC 6750 section 3: no error where no token came
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": challenge})
