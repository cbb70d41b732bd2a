"""Short ways to make the domain's words in tests, and hypothesis strategies over a small world of them."""

import datetime

import msgspec
from hypothesis import strategies as st

from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.directive import Directive, Order
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.requirement import NETWORKS, Requirement
from frontiergate.domain.vetting import Grant, GrantState

ORDER = Order(authority="Bureau of Industry and Security", reference="IS-2026-014")
GROUPS = resolve_groups({"odd": ["XK", "GB", "!GBO"]})
CYBER = Model(id="anthropic/frontier-5", dialects=("anthropic",), upstream="a", tags=("cyber",))
PLAIN = Model(id="openai/gpt-frontier", dialects=("openai",), upstream="o", tags=("bio",))
OLD = Model(id="openai/gpt-old", dialects=("openai",), upstream="o")
MODELS = (CYBER, PLAIN, OLD)
CATALOGUE = Catalogue(MODELS)


def directive(id: str = "is-1", models: object = ("*",), **fields: object) -> Directive:
    """A directive from the shapes that people write."""
    return msgspec.convert({"id": id, "order": msgspec.to_builtins(ORDER), "models": list(models), **fields}, Directive)


def require(**fields: object) -> Requirement:
    return msgspec.convert(fields, Requirement)


def evidence(kind: str, value: str, assurance: str = "attested", **fields: object) -> Evidence:
    worth = Assurance[assurance.upper()]
    return Evidence(kind=Kind(kind), value=value, assurance=worth, **({"source": "key k_1", "observed_at": 0.0} | fields))


def grant(id: str = "g-1", programme: str = "caisi", models: object = (CYBER.id,), **fields: object) -> Grant:
    given = {"principal": "key|k_1", "issued_at": 0.0, "expires_at": 1000.0} | fields
    return Grant(id=id, programme=programme, models=tuple(models), **given)


def instant(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


# A small world, so that generated directives and evidence meet. Instants are 0 to 40; 10, 20 and 30 are edges.
CODES = ("US", "GB", "GBO", "FR", "CN", "RU", "XK", "XXA")
EDGES = (10.0, 20.0, 30.0)
instants = st.sampled_from((0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0))
_VALUES = {
    Kind.US_PERSON: ("true", "false", "maybe"),
    Kind.ORGANISATION: ("acme", "globex", "initech"),
    Kind.NETWORK: NETWORKS,
    Kind.COHORT: ("alpha", "beta", "gamma"),
}
countries_kinds = ("nationality", "residence", "location", "organisation_country")


@st.composite
def evidences(draw: st.DrawFn, kinds: object = tuple(Kind)) -> Evidence:
    kind = draw(st.sampled_from((*kinds, *([Kind.NATIONALITY] * 3))))
    return Evidence(
        kind=kind,
        value=draw(st.sampled_from(_VALUES.get(kind, (*CODES, "nowhere")))),
        source="test",
        assurance=draw(st.sampled_from(Assurance)),
        observed_at=0.0,
        expires_at=draw(st.sampled_from((None, None, None, *EDGES))),
        since=draw(st.sampled_from((None, "2000-01-01", "2010-01-01", "2020-01-01", "long ago"))),
        held=draw(st.sampled_from(("current", "current", "current", "former"))),
        readable=draw(st.sampled_from((True, True, True, True, False))),
    )


entries = st.lists(st.sampled_from((*CODES, "five_eyes", "bis_d5", "odd", "chn")), min_size=1, max_size=3)


@st.composite
def atoms(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(
        st.sampled_from((*countries_kinds, "nationality", "nationality", "us_person", "cohort", "organisation", "network", "never"))
    )
    if kind == "never":
        return {"never": True}
    node: dict[str, object] = {}
    if kind == "us_person":
        node[kind] = draw(st.booleans())
    elif kind in countries_kinds:
        node[kind] = {draw(st.sampled_from(("all_in", "any_in", "none_in"))): draw(entries)}
    else:
        names = st.sampled_from(_VALUES[Kind(kind)])
        node[kind] = draw(st.one_of(names, st.lists(names, min_size=1, max_size=2)))
    if kind not in ("location", "network") and draw(st.booleans()):
        node["assurance"] = draw(st.sampled_from(("presumed", "asserted", "attested", "verified")))
    if kind == "nationality" and draw(st.booleans()):
        node["count"] = draw(st.sampled_from(("current", "most_recent", "ever")))
    return node


def _operators(parts: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    several = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda nodes: {"all_of": nodes}),
        several.map(lambda nodes: {"any_of": nodes}),
        parts.map(lambda node: {"not": node}),
    )


requirements = st.recursive(atoms(), _operators, max_leaves=6).map(lambda node: require(**node))
answers = st.sampled_from(("refuse", "withdraw", {"vet": "caisi"}, {"vet": "other"}))
selectors = st.lists(
    st.sampled_from(("*", "openai/*", "*frontier*", CYBER.id, "nothing/*", {"tag": "bio"}, {"tag": "cyber"})), min_size=1, max_size=2
)


@st.composite
def directives(draw: st.DrawFn) -> Directive:
    form = draw(st.sampled_from(("require",) * 5 + ("withdraw", "stage")))
    fields: dict[str, object] = {}
    if form == "withdraw":
        fields["withdraw"] = True
    elif form == "stage":
        fields["stage"] = {"cohorts": ["alpha"]} | draw(st.sampled_from(({}, {"vet": "caisi"})))
    else:
        fields["require"] = msgspec.to_builtins(draw(requirements))
        for answer in ("otherwise", "unknown"):
            if draw(st.booleans()):
                fields[answer] = draw(answers)
    for edge in ("from", "until"):
        if draw(st.integers(0, 3)) == 0:
            fields[edge] = instant(draw(st.sampled_from(EDGES))).isoformat()
    fields["mode"] = draw(st.sampled_from(("enforce", "enforce", "enforce", "observe")))
    fields["allow_presumed"] = draw(st.booleans())
    return directive(id=f"d-{draw(st.integers(0, 10**6))}", models=draw(selectors), **fields)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    return grant(
        id=f"g-{draw(st.integers(0, 10**6))}",
        programme=draw(st.sampled_from(("caisi", "other"))),
        models=draw(st.lists(st.sampled_from([model.id for model in MODELS]), min_size=1, max_size=3)),
        expires_at=draw(st.sampled_from((*EDGES, 100.0))),
        state=draw(st.sampled_from((GrantState.ACTIVE, GrantState.ACTIVE, GrantState.SUSPENDED))),
    )


several_directives = st.lists(directives(), max_size=5, unique_by=lambda d: d.id)
several_evidences = st.lists(evidences(), max_size=6)
several_grants = st.lists(grants(), max_size=3, unique_by=lambda g: g.id).map(tuple)
several_models = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True)
pauses = st.sampled_from(({}, {}, {OLD.id: "load"}))
