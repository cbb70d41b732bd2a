"""Checks of what is judged: the catalogue, country groups, programmes and directives, and whether any source can supply their atoms."""

import datetime
from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from msgspec import UNSET

from frontiergate.config.problem import Problem, error, warning
from frontiergate.config.schema import Config, CountryGroup, Role
from frontiergate.config.shape import suggestion
from frontiergate.config.units import Duration
from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive, rule, validate
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.literals import LEVELS
from frontiergate.domain.requirement import Requirement
from frontiergate.domain.scope import ModelIndex

_GLOB_MARKS = "*?[]{}"
_ALONE = {Kind.LOCATION: "geoip.country", Kind.NETWORK: "geoip.anonymous"}
_CLAIMS = {kind: "cohorts" if kind is Kind.COHORT else kind.value for kind in Kind if kind not in _ALONE}


def check_policy(config: Config, dialects: Collection[str], at: float) -> Iterator[Problem]:
    """Everything that concerns models and who may have them."""
    yield from _models(config, dialects)
    yield from _country_groups(config, at)
    yield from _programmes(config)
    yield from _directives(config)


def groups_of(config: Config) -> dict[str, tuple[str, ...]]:
    """The configured country groups, the short form and the long one alike."""
    return {name: group.countries if isinstance(group, CountryGroup) else group for name, group in config.country_groups.items()}


def _models(config: Config, dialects: Collection[str]) -> Iterator[Problem]:
    if not config.models:
        yield error("models", "is empty, so that every request would be refused: the file may be half written; list the models")
    for index, model in enumerate(config.models):
        path = f"models[{index}]"
        for name in (model.id, *model.names):
            if not name.strip() or name != name.strip() or not name.isprintable():
                yield error(path, f"the name {name!r} is empty or has blanks or control characters around or in it; correct it")
        if any(mark in model.id for mark in _GLOB_MARKS):
            yield error(f"{path}.id", f"{model.id!r} holds one of {_GLOB_MARKS}, which are wildcards in directives; choose another id")
        if not model.upstream:
            yield error(f"{path}.upstream", "is empty; name the upstream that serves the model")
        elif model.upstream not in config.upstreams:
            yield error(f"{path}.upstream", f"there is no upstream {model.upstream!r}; {suggestion(model.upstream, config.upstreams)}")
        if not model.dialects:
            yield error(f"{path}.dialects", f"is empty, so that nobody can ask for the model; {suggestion('', dialects)}")
        for dialect in model.dialects:
            if dialect not in dialects:
                yield error(f"{path}.dialects", f"there is no dialect {dialect!r}; {suggestion(dialect, dialects)}")
    try:
        Catalogue(config.models)
    except ValueError as problem:
        yield error("models", f"{problem}; keep one of the two")


def _country_groups(config: Config, at: float) -> Iterator[Problem]:
    for name, entries in groups_of(config).items():
        try:
            resolve_groups({name: entries})
        except ValueError as problem:
            yield from (error(f"country_groups.{name}", f"{line}; correct it") for line in str(problem).splitlines())
    today = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
    for name, group in config.country_groups.items():
        if isinstance(group, CountryGroup) and group.expires is not None and group.expires <= today:
            yield warning(f"country_groups.{name}", f"was to be reviewed by {group.expires}; review its countries and set a new date")


def _programmes(config: Config) -> Iterator[Problem]:
    operators = {operator.name for operator in config.control.operators}
    roles = {f"role:{role}" for role in get_args(Role)}
    for name, programme in config.programmes.items():
        path = f"programmes.{name}"
        for reviewer in programme.reviewers:
            if reviewer not in roles and reviewer not in operators:
                hint = suggestion(reviewer, roles | operators)
                yield error(f"{path}.reviewers", f"{reviewer!r} is neither an operator nor a role; {hint}")
        if programme.grant == Duration(0):
            yield error(f"{path}.grant", "is 0, so that an approval would lapse at once; set it to the days that one lasts")


def _directives(config: Config) -> Iterator[Problem]:
    try:
        groups = resolve_groups(groups_of(config))
    except ValueError:  # told of by _country_groups; the directives are judged with the groups that the gate ships
        groups = resolve_groups({}) | {name: frozenset() for name in config.country_groups}
    models = ModelIndex({model.id: model for model in config.models})
    supply = supply_of(config)
    seen: set[str] = set()
    for index, directive in enumerate(config.directives):
        path = f"directives[{index}]"
        if directive.id in seen:
            yield error(f"{path}.id", f"{directive.id!r} is listed twice; give each directive an id of its own")
        seen.add(directive.id)
        problems = validate(directive, groups, config.programmes)
        yield from (error(path, problem) for problem in problems)
        if problems:
            continue
        if not models.select(directive.models):
            yield warning(f"{path}.models", f"{directive.id!r} is on no model of the catalogue; correct its models, or lift it")
        yield from _unsupplied(path, directive, supply)


def supply_of(config: Config) -> dict[Kind, Assurance]:
    """The best assurance that any configured source can give each kind of evidence; a kind without a source is not in it."""
    identity, geoip = config.identity, config.geoip
    supply: dict[Kind, Assurance] = {}
    for issuer in identity.issuers:
        for kind, claim in _CLAIMS.items():
            # OpenID Connect for Identity Assurance carries these two under their standard names, whatever is mapped.
            standard = kind in (Kind.NATIONALITY, Kind.RESIDENCE) and issuer.trust_frameworks
            if standard or getattr(issuer.claims, claim) is not None:
                level = Assurance.VERIFIED if issuer.trust_frameworks else LEVELS[issuer.assurance]
                supply[kind] = max(level, supply.get(kind, level))
    if identity.api_keys:  # a key's evidence may be of any of these kinds, and verified
        supply |= dict.fromkeys(_CLAIMS, Assurance.VERIFIED)
    if geoip.country is not None:
        supply[Kind.LOCATION] = Assurance.ATTESTED
        supply.setdefault(Kind.NATIONALITY, Assurance.PRESUMED)
    if geoip.anonymous is not None:
        supply[Kind.NETWORK] = Assurance.ATTESTED
    return supply


def _unsupplied(path: str, directive: Directive, supply: Mapping[Kind, Assurance]) -> Iterator[Problem]:
    for place, node, kind in _atoms(rule(directive).require, "require" if directive.stage is UNSET else "stage"):
        best = supply.get(kind)
        demanded = Assurance.ATTESTED if node.assurance is UNSET else LEVELS[node.assurance]
        where = f"{path}.{place}"
        if kind in _ALONE:
            if best is None:
                yield warning(where, f"no source can ever tell {kind}, so that it is unknown of everyone; set {_ALONE[kind]}")
        elif best is None:
            hint = f"map it in an issuer's claims ({_CLAIMS[kind]}), or allow api_keys"
            yield warning(where, f"no source can ever tell {kind}, so that it is unknown of everyone; {hint}")
        elif best < demanded and not (kind is Kind.NATIONALITY and directive.allow_presumed):
            level, wanted = best.name.lower(), demanded.name.lower()
            hint = "raise an issuer's assurance or list its trust_frameworks, or demand less"
            yield warning(where, f"no source gives {kind} better than {level}, so that {wanted} is never met; {hint}")


def _atoms(node: Requirement, path: str) -> Iterator[tuple[str, Requirement, Kind]]:
    for name in ("all_of", "any_of"):
        for index, part in enumerate(getattr(node, name) or ()):
            yield from _atoms(part, f"{path}.{name}[{index}]")
    if isinstance(node.not_, Requirement):
        yield from _atoms(node.not_, f"{path}.not")
    yield from ((f"{path}.{kind}", node, kind) for kind in Kind if getattr(node, kind.value) is not UNSET)
