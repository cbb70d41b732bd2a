"""API keys: create (the secret is shown once and stored nowhere), list, revoke (DESIGN 5, credential)."""

import secrets
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from frontiergate.control.bodies import nearest, query, read, reply
from frontiergate.control.directives import Why
from frontiergate.control.grants import expiry
from frontiergate.control.instants import iso
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane
from frontiergate.control.problems import FieldError, Problem, invalid
from frontiergate.control.statements import Statements, evidence_of, statements_in
from frontiergate.domain.evidence import Assurance
from frontiergate.errors import Conflict, NotFound
from frontiergate.identity.apikey import mint
from frontiergate.store.protocol import KeyCreated, KeyRecord, KeyRevoked

PATH = "/admin/v1/keys"


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`evidence` is what the organisation vouches for; it is worth `assurance`. `expires` is an instant or a duration."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    evidence: Statements = Statements()
    assurance: Literal["asserted", "attested", "verified"] = "attested"
    expires: str | None = None
    reason: Why


class WhyRevoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why


async def index(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """All keys, revoked ones too; never a secret or its digest."""
    query(request, ())
    at = plane.clock()
    return reply({"keys": [view(key, at) for key in await plane.store.keys()]})


async def create(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """Make a key. Evidence worth `verified` says that documents were checked: only an admin may say so."""
    body = await read(request, NewKey)
    if body.assurance == "verified":
        operator.require("admin")
    if body.evidence != Statements():
        plane.refuse_loosening("a key that carries evidence")
    at = plane.clock()
    expires_at, trouble = (None, "") if body.expires is None else expiry(body.expires, at)
    if trouble:
        raise invalid([FieldError("expires", trouble)])
    key_id = f"k_{secrets.token_hex(8)}"
    secret, sha256 = mint()
    said = statements_in(body.evidence, "evidence.")
    evidence = evidence_of(said, source=f"key {key_id}", assurance=Assurance[body.assurance.upper()], at=at)
    key = KeyRecord(
        id=key_id,
        sha256=sha256,
        name=body.name,
        evidence=evidence,
        created_at=at,
        expires_at=expires_at,
    )
    entry = await plane.store.append(KeyCreated(key), actor=operator.name, reason=body.reason)
    document = {"epoch": entry.epoch, "appended_at": entry.at, "key": view(key, at), "secret": secret}
    return reply(document, status=201, location=f"{PATH}/{key_id}")


async def revoke(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """End a key at once, live streams included. POST with a reason, or DELETE with `?reason=`."""
    key_id = request.match_info["id"]
    if request.method == "DELETE":
        reason = query(request, ("reason",)).get("reason", "revoked")[:1000]
    else:
        reason = (await read(request, WhyRevoked)).reason
    try:
        entry = await plane.store.append(KeyRevoked(key_id), actor=operator.name, reason=reason)
    except NotFound:
        known = [key.id for key in await plane.store.keys()]
        raise Problem("not-found", f"there is no key {key_id!r}{nearest(key_id, known)}") from None
    except Conflict:
        raise Problem("conflict", f"the key {key_id} is revoked already") from None
    return reply({"epoch": entry.epoch, "appended_at": entry.at, "revoked": key_id})


def view(key: KeyRecord, at: float) -> dict[str, object]:
    if key.revoked_at is not None:
        state = "revoked"
    else:
        state = "expired" if key.expires_at is not None and at >= key.expires_at else "active"
    return {
        "id": key.id,
        "principal": f"key|{key.id}",
        "name": key.name,
        "state": state,
        "evidence": [{"kind": piece.kind.value, "value": piece.value, "assurance": piece.assurance.name.lower()} for piece in key.evidence],
        "created_at": iso(key.created_at),
        "expires_at": iso(key.expires_at),
        "revoked_at": iso(key.revoked_at),
    }
