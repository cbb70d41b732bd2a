"""Directives: one restriction in force between two instants, made under an order (DESIGN 3, 4.2)."""

import datetime
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from frontiergate.domain.groups import suggestion
from frontiergate.domain.requirement import Names, Requirement
from frontiergate.domain.wellformed import requirement_problems

# `gc=False`, here and on the domain's other small things: frozen trees are in no cycle, and the collector need not look at them
# (measured: 50 ms of each full collection for 10,000 directives).
DirectiveId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Order(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The legal instrument that a directive is made under."""

    authority: Annotated[str, Meta(min_length=1, max_length=200, description="who made it")]
    reference: Annotated[str, Meta(min_length=1, max_length=200, description="its number or name, as the authority writes it")]
    received: Annotated[datetime.date | None, Meta(description="the day it came")] = None
    criteria: Annotated[str | None, Meta(description="whom it is about, in its own words")] = None
    url: Annotated[str | None, Meta(description="where callers can read of it")] = None


class Tag(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Selects every model that carries the tag."""

    tag: Annotated[str, Meta(description="one of a model's tags")]


class Vet(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The answer `queue`: a grant of this programme satisfies the directive."""

    vet: Annotated[str, Meta(description="the name of a programme")]


class Stage(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shorthand: only these cohorts, until the directive's end; others may be vetted where a programme is named."""

    cohorts: Annotated[Names, Meta(description="who may have the model")]
    vet: Annotated[str | None, Meta(description="the programme in which others may be vetted; null: they are refused")] = None


Answer = Literal["withdraw", "refuse"] | Vet


class Directive(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}, omit_defaults=True
):
    """For these models, callers must satisfy `require`; who does not gets `otherwise`; of whom it cannot be told gets `unknown`.

    Exactly one of `require`, `withdraw: true` and `stage`; `normal_form` expands the last two. Written the same in the
    config file, the admin API and the store.
    """

    id: Annotated[DirectiveId, Meta(description="stable; callers and auditors see it")]
    order: Annotated[Order, Meta(description="the legal instrument that it is made under")]
    models: Annotated[tuple[str | Tag, ...], Meta(min_length=1, description="ids, ids with `*` for any run of characters, or tags")]
    require: Annotated[Requirement | UnsetType, Meta(description="what callers must satisfy")] = UNSET
    withdraw: Annotated[Literal[True] | UnsetType, Meta(description="nobody may have the models")] = UNSET
    stage: Annotated[Stage | UnsetType, Meta(description="only some cohorts may have the models")] = UNSET
    otherwise: Annotated[Answer | UnsetType, Meta(description="what becomes of who does not satisfy `require`; by default refuse")] = UNSET
    unknown: Annotated[
        Answer | UnsetType, Meta(description="what becomes of those of whom it cannot be told; by default the same as `otherwise`")
    ] = UNSET
    from_: Annotated[datetime.datetime | None, Meta(description="in force from this instant on")] = None  # aware, as is until
    until: Annotated[datetime.datetime | None, Meta(description="not in force at this instant any more")] = None
    mode: Annotated[Literal["enforce", "observe"], Meta(description="`observe` decides and counts, but does not act")] = "enforce"
    allow_presumed: Annotated[bool, Meta(description="lets GeoIP stand in for a nationality where nothing better is known")] = False


class Rule(msgspec.Struct, frozen=True, gc=False):
    """The normal form's three parts."""

    require: Requirement
    otherwise: Answer
    unknown: Answer


def rule(directive: Directive) -> Rule:
    """What `directive` demands, its shorthands expanded. Raises ValueError unless it has exactly one form.

    Closed by default: who does not satisfy `require` is refused where `otherwise` is left out (P2).
    """
    otherwise: Answer = "refuse" if directive.otherwise is UNSET else directive.otherwise
    match (directive.require, directive.withdraw, directive.stage):
        case (Requirement() as require, UnsetType(), UnsetType()):
            return Rule(require, otherwise, otherwise if directive.unknown is UNSET else directive.unknown)
        case (UnsetType(), True, UnsetType()):
            return Rule(Requirement(never=True), "withdraw", "withdraw")
        case (UnsetType(), UnsetType(), Stage(cohorts=cohorts, vet=vet)):
            otherwise = "refuse" if vet is None else Vet(vet)
            return Rule(Requirement(cohort=cohorts), otherwise, otherwise)
        case _:
            raise ValueError(f"directive {directive.id!r} must have exactly one of require, withdraw and stage")


def normal_form(directive: Directive) -> Directive:
    """`directive` with its shorthands expanded and `otherwise` and `unknown` written out; the same on a second call."""
    made = rule(directive)
    return msgspec.structs.replace(
        directive, require=made.require, otherwise=made.otherwise, unknown=made.unknown, withdraw=UNSET, stage=UNSET
    )


def validate(directive: Directive, groups: Mapping[str, frozenset[str]], programmes: Collection[str]) -> list[str]:
    """What is wrong with `directive`, one line each: where, what, and what to do. Empty where it can be put into force."""
    problems = [*_form_problems(directive), *_model_problems(directive), *_time_problems(directive)]
    answers = {"otherwise": directive.otherwise, "unknown": directive.unknown}
    if directive.stage is not UNSET and directive.stage.vet is not None:
        answers["stage"] = Vet(directive.stage.vet)
    for path, answer in answers.items():
        if isinstance(answer, Vet) and answer.vet not in programmes:
            hint = suggestion(answer.vet, programmes) or "; add it to programmes"
            problems.append(f"{path}.vet: no programme {answer.vet!r}{hint}")
    if directive.require is not UNSET:
        problems += requirement_problems(directive.require, "require", groups)
    return problems


def _form_problems(directive: Directive) -> Iterator[str]:
    forms = [form for form in ("require", "withdraw", "stage") if getattr(directive, form) is not UNSET]
    if len(forms) != 1:
        yield f"has {' and '.join(forms) or 'no form'}; write exactly one of require, withdraw and stage"
    for form in forms:
        for answer in ("otherwise", "unknown"):
            if form != "require" and getattr(directive, answer) is not UNSET:
                yield f"{answer}: {form} already says what becomes of others; leave it out, or write require instead"


def _model_problems(directive: Directive) -> Iterator[str]:
    for index, selector in enumerate(directive.models):
        text = selector if isinstance(selector, str) else selector.tag
        if not text.strip():
            yield f"models[{index}]: empty; write a model's id, an id with *, or a tag"
        elif isinstance(selector, str) and any(mark in text for mark in "?[]{}"):
            yield f"models[{index}]: {text!r}: * is the only wildcard; list the ids one by one"


def _time_problems(directive: Directive) -> Iterator[str]:
    instants = {"from": directive.from_, "until": directive.until}
    naive = [name for name, at in instants.items() if at is not None and at.tzinfo is None]
    yield from (f"{name}: has no time zone; end it with Z or an offset such as +02:00" for name in naive)
    if not naive and directive.from_ is not None and directive.until is not None and directive.from_ >= directive.until:
        yield "until: is not after from, so that the directive is never in force; correct one of them"
