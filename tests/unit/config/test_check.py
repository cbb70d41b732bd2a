"""check-config proves what can be proved: each mistake is found, named by its path, and comes with what to do."""

import os
from pathlib import Path

import pytest
import yaml

from frontiergate.config.check import Problem, check_config
from frontiergate.config.load import load_config, parse_config

ROOT = Path(__file__).parents[3]
AT = 1_795_392_000.0  # 2026-11-23
DIALECTS = ("openai", "anthropic")
SOUND = """
upstreams: {up: {url: "https://up.example"}}
models: [{id: a/m, dialects: [openai], upstream: up, tags: [t]}]
control: {operators: [{name: op, roles: [admin], token_env: OP}]}
"""


def check(text: str, base: str = SOUND, **environ: str) -> list[Problem]:
    """`text` over a sound configuration, key by key."""
    document = yaml.safe_load(base) | yaml.safe_load(text)
    return check_config(parse_config(yaml.safe_dump(document), "f"), DIALECTS, AT, {"OP": "op-token", **environ})


def told(problems: list[Problem]) -> list[str]:
    return [f"{problem.level} {problem.path}: {problem.message}" for problem in problems]


def directive(body: str, id: str = "d1", models: str = '["*"]') -> str:
    return f"{{id: {id}, order: {{authority: A, reference: R}}, models: {models}, {body}}}"


def test_a_sound_configuration_has_no_problems() -> None:
    assert check("workers: 1") == []


def test_the_example_warns_of_the_secrets_that_are_not_set_and_of_nothing_else() -> None:
    config = load_config(str(ROOT / "config/frontiergate.yaml"), {})
    problems = check_config(config, DIALECTS, AT, {})
    assert [problem.path for problem in problems] == [
        "upstreams.openai.credential",
        "upstreams.anthropic.credential",
        "control.operators[0]",
        "control.operators[1]",
    ]
    assert all(problem.level == "warning" and "is not set; set it" in problem.message for problem in problems)


def test_the_configurations_to_deploy_have_no_errors() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["configs"]["gate"]["content"]
    kubernetes = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/sidecar.yaml").read_text()))
    sidecar = next(part for part in kubernetes if part["kind"] == "ConfigMap")["data"]["frontiergate.yaml"]
    for text in (compose, sidecar):
        problems = check_config(parse_config(text, "f"), DIALECTS, AT, {})
        assert not [problem for problem in problems if problem.level == "error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # listeners
        ("listen: {data: {host: h}}", "error listen.data: needs host and port, or unix; add what is missing"),
        ("listen: {data: {}}", "error listen.data: needs host and port, or unix; add"),
        ("listen: {data: {host: h, port: 1, unix: /s}}", "error listen.data: has both unix and host or port; keep one"),
        ("listen: {data: {unix: /%s}}" % ("x" * 107), "error listen.data.unix: is longer than the 107 bytes"),
        ("listen: {data: {host: 127.0.0.1, port: 9090}}", "error listen.control: listens where listen.data listens; give each"),
        ("listen: {data: {host: 0.0.0.0, port: 9090}}", "error listen.control: listens where listen.data listens; give each"),
        ("listen: {data: {unix: /s}, decision: {unix: /s}}", "error listen.decision: listens where listen.data listens; give each"),
        ("listen: {control: {host: 10.0.0.1, port: 1}}", "warning listen.control: operators' tokens would cross the network in the clear; add tls"),
        ("listen: {data: {unix: /s, tls: {certificate: /no/c, key: /no/k}}}", "error listen.data.tls.certificate: the file /no/c is not there"),
        # addresses
        ("clients: {trusted_proxies: [10.0.0.1/8]}", "error clients.trusted_proxies[0]: '10.0.0.1/8' is not a network; write it as"),
        ("clients: {trusted_proxies: [proxy]}", "error clients.trusted_proxies[0]: 'proxy' is not a network; write it as"),
        ("clients: {trusted_proxies: ['::1', '::/0']}", "warning clients.trusted_proxies[1]: trusts every peer, so that"),
        ("geoip: {country: /no/c.mmdb}", "error geoip.country: the file /no/c.mmdb is not there or cannot be read; create it"),
        # upstreams
        ("upstreams: {up: {url: ftp://up}}", "error upstreams.up.url: is not a URL with a host; write it as https://host/path"),
        ("upstreams: {up: {url: 'https:///p'}}", "error upstreams.up.url: is not a URL with a host"),
        ("upstreams: {up: {url: 'https://up:x'}}", "error upstreams.up.url: is not a URL with a host"),
        ("upstreams: {up: {url: 'https://up\\n.example'}}", "error upstreams.up.url: is not a URL with a host"),
        ("upstreams: {up: {url: \"https://up/\\r\\nx\"}}", "error upstreams.up.url: is not a URL with a host"),
        ("upstreams: {up: {url: 'https://u:p@up'}}", "error upstreams.up.url: holds a user or a password; move it to credential"),
        ("upstreams: {up: {url: 'https://up?'}}", "error upstreams.up.url: holds a query or a fragment; remove it"),
        ("upstreams: {up: {url: 'https://up#f'}}", "error upstreams.up.url: holds a query or a fragment; remove it"),
        ("upstreams: {up: {url: 'http://up'}}", "warning upstreams.up.url: is http to another machine: prompts and"),
        ("upstreams: {up: {url: 'https://up', ca: /no/ca}}", "error upstreams.up.ca: the file /no/ca is not there"),
        ("upstreams: {up: {url: 'https://up', credential: {}}}", "error upstreams.up.credential: needs exactly one of env and file; name"),
        ("upstreams: {up: {url: 'https://up', credential: {env: K}}}", "warning upstreams.up.credential: the environment variable K is not set"),
        ("upstreams: {up: {url: 'https://up', credential: {env: OP, header: 'x y'}}}", "error upstreams.up.credential.header: 'x y' is not a header's name"),
        ("upstreams: {up: {url: 'https://up', credential: {env: OP, header: Host}}}", "error upstreams.up.credential.header: 'Host' frames the message"),
        ("upstreams: {up: {url: 'https://up', credential: {env: OP, scheme: 'a b'}}}", "error upstreams.up.credential.scheme: is not one word"),
        ("limits: {idle: 0s}", "error limits.idle: is 0, so that no request could pass; raise it"),
        ("enforcement: {lease: 0s}", "error enforcement.lease: is 0, so that every policy would be stale at once; set it"),
        ("docs_url: 'https://d/> evil'", "error docs_url: is not a URL with a host; write it as"),
        ("store: ftp://h", "error store: is not a store that this version has; write sqlite:///absolute/path.db, redis://host:6379,"),
        ("store: 'sqlite:///'", "error store: names no file; write sqlite:///absolute/path.db"),
        ("store: 'redis://gate:s3cret@h'", "error store: holds a password, which would be shown with it; remove it, and name where it is"),
        ("store: 'redis://localhost?password_env=R'", "warning store: the environment variable R is not set; set it to the secret"),
        ("store: 'rediss://localhost?ca=/no/ca.pem'", "error store: ca: the file /no/ca.pem is not there or cannot be read; create it"),
        ("store: 'redis://h?password_env=OP'", "warning store: is reached without TLS: policy and password would cross"),
        ("store: 'rediss://h'", "warning store: is reached without a password, so that anybody near it can lift directives; add"),
        ("store: 'redis+sentinel://localhost/gate'", "warning store: waits for no replica, so that a failover can undo"),
        ("store: 'redis://localhost?timeout=5s'", "warning store: may answer after 5s, when the lease of 5s is over; lower timeout"),
        # identity
        ("identity: {issuers: [{issuer: a|b, jwks: 'https://a/k', audiences: [x]}]}", "error identity.issuers[0].issuer: holds '|', which parts issuer"),
        (
            "identity: {issuers: [{issuer: a, jwks: 'https://a/k', audiences: [x]}, {issuer: a, jwks: 'https://a/k', audiences: [y]}]}",
            "error identity.issuers[1].issuer: 'a' is listed twice; keep one entry",
        ),
        ("identity: {issuers: [{issuer: a, jwks: /no/keys, audiences: [x]}]}", "error identity.issuers[0].jwks: the file /no/keys is not there"),
        ("identity: {issuers: [{issuer: a, jwks: 'http://a/k', audiences: [x]}]}", "error identity.issuers[0].jwks: is fetched without TLS"),
        ("identity: {issuers: [{issuer: a, jwks: 'ldap://a/k', audiences: [x]}]}", "error identity.issuers[0].jwks: is not a URL with a host"),
        ("identity: {leeway: 61s}", "error identity.leeway: is more than 60s, so that expired tokens would live on; lower it"),
        ("identity: {header: x_y}", "error identity.header: 'x_y' is not a header's name; use letters"),
        ("identity: {api_keys: false}", "warning identity: accepts no credential, so that every request is refused; add an issuer"),
        # operators
        ("control: {}", "warning control.operators: is empty, so that nobody can change policy at runtime; add an operator"),
        ("control: {operators: [{name: a}]}", "error control.operators[0]: needs exactly one of token_sha256, token_env and token_file; name"),
        ("control: {operators: [{name: a, token_env: OP, token_file: f}]}", "error control.operators[0]: needs exactly one of"),
        ("control: {operators: [{name: a, token_env: NO_SUCH}]}", "warning control.operators[0]: the environment variable NO_SUCH is not set; set it"),
        ("control: {operators: [{name: a, token_sha256: 12ab}]}", "error control.operators[0].token_sha256: is not a SHA-256; write"),
        ("control: {operators: [{name: a, token_env: OP}, {name: a, token_env: B}]}", "error control.operators[1].name: 'a' is listed twice; give"),
        ("control: {operators: [{name: a, token_env: OP}, {name: b, token_env: OP}]}", "error control.operators[1]: has the same token as 'a', so"),
        # catalogue
            ("models: []", "error models: is empty, so that every request would be refused: the file may be half written; list the models"),
        ("models: [{id: m, dialects: [openai], upstream: upp}]", "error models[0].upstream: there is no upstream 'upp'; did you mean 'up'?"),
        ("models: [{id: m, dialects: [openai], upstream: ''}]", "error models[0].upstream: is empty; name the upstream that serves the model"),
        ("models: [{id: m, dialects: [opnai], upstream: up}]", "error models[0].dialects: there is no dialect 'opnai'; did you mean 'openai'?"),
        ("models: [{id: m, dialects: [], upstream: up}]", "error models[0].dialects: is empty, so that nobody can ask for the model; known here: anthropic, openai"),
        ("models: [{id: 'm*', dialects: [openai], upstream: up}]", "error models[0].id: 'm*' holds one of *?[]{}, which are wildcards"),
        ("models: [{id: m, names: [' n'], dialects: [openai], upstream: up}]", "error models[0]: the name ' n' is empty or has blanks"),
        (
            "models: [{id: m, dialects: [openai], upstream: up}, {id: n, names: [m], dialects: [openai], upstream: up}]",
            "error models: the name 'm' stands for both 'm' and 'n' in dialect 'openai'; keep one of the two",
        ),
        ("models: [{id: m, dialects: [openai], upstream: up}, {id: m, dialects: [anthropic], upstream: up}]", "error models: model 'm' is listed twice; keep"),
        # groups and programmes
        ("country_groups: {g: [US, Ruritania]}", "error country_groups.g: country group 'g': 'Ruritania' is not a country"),
        ("country_groups: {US: [GB]}", "error country_groups.US: country group 'US': the name is read as the country US; choose another; correct it"),
        ("country_groups: {g: {countries: [US], expires: 2026-11-23}}", "warning country_groups.g: was to be reviewed by 2026-11-23; review"),
        ("programmes: {p: {title: P, reviewers: ['role:reviwer']}}", "error programmes.p.reviewers: 'role:reviwer' is neither an operator nor a role; did you mean 'role:reviewer'?"),
        ("programmes: {p: {title: P, grant: 0s}}", "error programmes.p.grant: is 0, so that an approval would lapse at once; set"),
        # directives
        (f"directives: [{directive('withdraw: true')}, {directive('withdraw: true')}]", "error directives[1].id: 'd1' is listed twice; give"),
        (f"directives: [{directive('withdraw: true', models='[other]')}]", "warning directives[0].models: 'd1' is on no model of the catalogue; correct"),
        (f"directives: [{directive('mode: observe')}]", "error directives[0]: has no form; write exactly one of require, withdraw and stage"),
        (f"directives: [{directive('require: {nationality: {all_in: [five_eye]}}')}]", "error directives[0]: require.nationality.all_in[0]: 'five_eye' is neither"),
        (f"directives: [{directive('require: {us_person: true}, otherwise: {vet: p}')}]", "error directives[0]: otherwise.vet: no programme 'p'; add it"),
        (f"directives: [{directive('require: {us_person: true}, from: 2026-11-01T00:00:00')}]", "error directives[0]: from: has no time zone; end it"),
        # atoms that nothing can supply
        (
            f"directives: [{directive('require: {any_of: [{us_person: true}, {not: {location: {any_in: [CN]}}}]}')}]",
            "warning directives[0].require.any_of[1].not.location: no source can ever tell location, so that it is unknown of everyone; set geoip.country",
        ),
        (f"directives: [{directive('require: {network: hosting}')}]", "warning directives[0].require.network: no source can ever tell network, so that it is unknown of everyone; set geoip.anonymous"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(text: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in told(check(text, B="b-token"))), told(check(text))


ISSUER = "identity: {api_keys: false, issuers: [{issuer: a, jwks: 'https://a/k', audiences: [x], %s}]}\ndirectives: [%s]"


@pytest.mark.parametrize(
    ("issuer", "require", "expected"),
    [
        ("claims: {}", "{residence: {any_in: [US]}}", "residence: no source can ever tell residence, so that it is unknown of everyone; map it"),
        ("claims: {}", "{cohort: c}", "cohort: no source can ever tell cohort, so that it is unknown of everyone; map it in an issuer's claims (cohorts)"),
        ("claims: {us_person: u}, assurance: asserted", "{us_person: true}", "us_person: no source gives us_person better than asserted, so that attested is"),
        ("claims: {us_person: u}", "{us_person: true, assurance: verified}", "us_person: no source gives us_person better than attested, so that verified"),
        ("claims: {us_person: u}", "{us_person: true}", None),
        ("claims: {}, trust_frameworks: [f]", "{nationality: {all_in: [US]}, assurance: verified}", None),
        ("claims: {organisation: o}, trust_frameworks: [f]", "{organisation: o, assurance: verified}", None),
        ("claims: {}", "{never: true}", None),
    ],
)  # fmt: skip
def test_an_atom_is_supplied_or_reported(issuer: str, require: str, expected: str | None) -> None:
    found = told(check(ISSUER % (issuer, directive(f"require: {require}"))))
    assert found == [] if expected is None else found[0].startswith(f"warning directives[0].require.{expected}"), found


def test_keys_can_carry_any_evidence_but_the_gates_own() -> None:
    body = "require: {all_of: [{us_person: true, assurance: verified}, {cohort: c}, {organisation_country: {any_in: [US]}}]}"
    assert check(f"directives: [{directive(body)}]") == []


def test_a_stage_is_checked_for_its_cohorts() -> None:
    found = told(check(ISSUER % ("claims: {}", directive("stage: {cohorts: [pilot]}"))))
    assert found[0].startswith("warning directives[0].stage.cohort: no source can ever tell cohort")


def test_a_presumed_nationality_needs_a_database_and_the_directives_leave(tmp_path: Path) -> None:
    database = tmp_path / "c.mmdb"
    database.touch()
    for leave, count in (("", 1), (", allow_presumed: true", 0)):
        text = ISSUER % ("claims: {}", directive("require: {nationality: {all_in: [US]}}" + leave))
        assert len(check(f"{text}\ngeoip: {{country: {database}, anonymous: {database}}}")) == count


def test_a_broken_country_group_does_not_hide_other_problems() -> None:
    text = f"country_groups: {{g: [Ruritania]}}\ndirectives: [{directive('require: {residence: {any_in: [g]}}, otherwise: {vet: p}')}]"
    assert [problem.path for problem in check(text)] == ["country_groups.g", "directives[0]"]


def test_files_that_are_there_and_local_http_are_fine(tmp_path: Path) -> None:
    for name in ("c", "k", "ca", "jwks"):
        (tmp_path / name).touch()
    (tmp_path / "token").write_text("t")
    text = f"""
listen:
  data: {{host: "::", port: 0, tls: {{certificate: {tmp_path}/c, key: {tmp_path}/k, client_ca: {tmp_path}/ca}}}}
  control: {{host: localhost, port: 0}}
clients: {{trusted_proxies: [10.0.0.0/8]}}
identity:
  header: x-platform-token
  issuers:
    - {{issuer: a, jwks: {tmp_path}/jwks, audiences: [x]}}
    - {{issuer: b, jwks: "http://127.0.0.1/jwks", audiences: [x]}}
upstreams: {{up: {{url: "http://127.0.0.1:8000/base", ca: {tmp_path}/ca, credential: {{scheme: Bearer, file: {tmp_path}/token}}}}}}
limits: {{drain: 0s}}
control: {{operators: [{{name: a, token_sha256: {"AB" * 32}}}, {{name: b, token_file: {tmp_path}/token}}]}}
programmes: {{p: {{title: P, reviewers: [b]}}}}
store: sqlite:state.db
"""
    assert check(text) == []


def test_control_with_tls_may_listen_anywhere(tmp_path: Path) -> None:
    for name in ("c", "k"):
        (tmp_path / name).touch()
    assert check(f"listen: {{control: {{host: 0.0.0.0, port: 1, tls: {{certificate: {tmp_path}/c, key: {tmp_path}/k}}}}}}") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca").touch(mode=0)
    assert "cannot be read" in told(check(f"upstreams: {{up: {{url: 'https://up', ca: {tmp_path}/ca}}}}"))[0]


def test_errors_come_before_warnings() -> None:
    levels = [
        problem.level
        for problem in check("{identity: {api_keys: false, leeway: 90s}, upstreams: {}, clients: {trusted_proxies: [0.0.0.0/0]}}")
    ]
    assert levels == sorted(levels)
    assert set(levels) == {"error", "warning"}
