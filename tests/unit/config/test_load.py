"""Every problem of a configuration file is told with file, line, path, what is wrong and what to do."""

import datetime
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontiergate.config.load import load_config, parse_config, resolve_paths, secret, spelled
from frontiergate.config.schema import Config, CountryGroup
from frontiergate.errors import ConfigError

ROOT = Path(__file__).parents[3]
DIRECTIVE = """
directives:
  - id: d1
    order: {{authority: A, reference: R}}
    models: ["*"]
    {0}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "f.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listen:\n  dataa: {port: 1}", "f.yaml:2: listen.dataa: unknown key; did you mean 'data'?"),
        ("WORKERS: 2", "f.yaml:1: WORKERS: unknown key; did you mean 'workers'?"),
        ("hold:\n  zzz: 1", "f.yaml:2: hold.zzz: unknown key; known here: max_bytes, max_requests, wait"),
        ("a: &a {}\nlisten: {<<: *a}", "f.yaml:2: listen['<<']: merge keys are not read (YAML 1.2 has none); write the keys out"),
        ("workers: 0", "f.yaml:1: workers: expected a whole number from 1 to 256, got the number 0; change it"),
        ("workers: yes", "f.yaml:1: workers: expected a whole number from 1 to 256, got text; change it"),
        ("workers: true", "f.yaml:1: workers: expected a whole number from 1 to 256, got true; change it"),
        ("workers: 1.5", "f.yaml:1: workers: expected a whole number from 1 to 256, got the number 1.5; change it"),
        ("docs_url: ''", "f.yaml:1: docs_url: expected text that is not empty, got empty text; change it"),
        ("docs_url: 12", "f.yaml:1: docs_url: expected text that is not empty, got the number 12; put it in quotes"),
        ("docs_url: 2026-11-01", "f.yaml:1: docs_url: expected text that is not empty, got a date; put it in quotes"),
        ("docs_url: 2026-11-01 00:00:00Z", "f.yaml:1: docs_url: expected text that is not empty, got an instant; put it in quotes"),
        (
            "audit:",
            "f.yaml:1: audit: expected a mapping (path, durability, address), got nothing (null); remove the key, or give it a value",
        ),
        ("models: {}", "got a mapping; change it"),
        ("upstreams: []", "f.yaml:1: upstreams: expected a mapping of names, got an empty list; change it"),
        ("limits: {idle: 5}", "f.yaml:1: limits.idle: expected a duration such as 5s, got the number 5; write the unit with it"),
        ("limits: {idle: 5 s}", "f.yaml:1: limits.idle: '5 s' is not a duration: write a number and ms, s, m, h or d, e.g. 5s"),
        (
            "limits: {idle:}",
            "f.yaml:1: limits.idle: expected a duration such as 5s, got nothing (null); remove the key, or give it a value",
        ),
        ("limits: {head: 64K}", "f.yaml:1: limits.head: '64K' is not a size: write a number and B, KiB, MiB or GiB, e.g. 32MiB"),
        ("limits: {head: [1]}", "f.yaml:1: limits.head: expected a size such as 32MiB, got a list; write the unit with it"),
        (
            "audit: {durability: strickt}",
            "f.yaml:1: audit.durability: expected 'batched' or 'strict', got 'strickt'; did you mean 'strict'?",
        ),
        ("audit: {durability: 7}", "f.yaml:1: audit.durability: expected 'batched' or 'strict', got the number 7; change it"),
        ("upstreams:\n  o: {}", "f.yaml:2: upstreams.o: the key 'url' is missing; add url: text that is not empty"),
        (
            "upstreams:\n  o.p: {url: 1}",
            "f.yaml:2: upstreams['o.p'].url: expected text that is not empty, got the number 1; put it in quotes",
        ),
        (
            "upstreams:\n  o: {url: x}\n  o: {url: y}",
            "f.yaml:3: upstreams.o: this key stands here twice, first on line 2; remove one of them",
        ),
        ("1: 2", "f.yaml:1: a key must be text; put it in quotes"),
        ("true: 2", "f.yaml:1: a key must be text; put it in quotes"),
        ("? [a]\n: 2", "f.yaml:1: a key must be text; put it in quotes"),
        ("models:\n  - id: 5", "f.yaml:2: models[0].id: expected text, got the number 5; put it in quotes"),
        ("identity: {issuers: [{issuer: x, jwks: y, audiences: []}]}", "expected a list with at least one of: text, got an empty list"),
        ("control: {oidc: {}}", "f.yaml:1: control.oidc: expected null, got a mapping; change it"),
        (DIRECTIVE.format("withdraw: false"), "directives[0].withdraw: expected true, got false; change it"),
        (
            DIRECTIVE.format("otherwise: refus"),
            "directives[0].otherwise: expected 'withdraw' or 'refuse' or a mapping (vet), got 'refus'; did you",
        ),
        (DIRECTIVE.format("from: 2026-11-01"), "directives[0].from: expected an instant such as 2026-11-23T00:00:00Z or null, got a date"),
        (
            DIRECTIVE.format("require: {all_of: [{not: {locatoin: 1}}]}"),
            "directives[0].require.all_of[0].not.locatoin: unknown key; did you mean",
        ),
        (
            "store: !!python/name:os.system x",
            "f.yaml:1: store: the tag 'tag:yaml.org,2002:python/name:os.system' is not read here; remove it",
        ),
        ("store: !mine [1]", "f.yaml:1: store: the tag '!mine' is not read here; remove it"),
        ("store: !!binary aGk=", "f.yaml:1: store: the tag 'tag:yaml.org,2002:binary' is not read here; remove it"),
        ("workers: !!int x", "f.yaml:1: workers: this cannot be read as a number of at most 63 bits; mend it"),
        ("workers: 99999999999999999999", "f.yaml:1: workers: this cannot be read as a number of at most 63 bits; mend it"),
        ("workers: 0x" + "f" * 9999, "f.yaml:1: workers: this cannot be read as a number of at most 63 bits; mend it"),
        ("workers: !!bool x", "f.yaml:1: workers: this cannot be read as a bool; mend it"),
        (
            "docs_url: 2026-13-45",
            "f.yaml:1: docs_url: this cannot be read as a date or an instant; mend it, or put it in quotes if it is text",
        ),
        ("docs_url: !!timestamp soon", "f.yaml:1: docs_url: this cannot be read as a date or an instant; mend it"),
        ("listen: &a {data: *a}", "f.yaml:1: this cannot be read as YAML: aliases make it endless or far too large; mend"),
        (
            "models: [",
            "f.yaml:1: this cannot be read as YAML: while parsing a flow node, expected the node content, but found '<stream end>'; mend",
        ),
        ("a:\n\tb: 1", "f.yaml:2: this cannot be read as YAML: "),
        ("a: 1\n---\nb: 1", "f.yaml:2: this cannot be read as YAML: expected a single document in the stream"),
        ("[" * 100_000, "f.yaml:1: this cannot be read as YAML: nested more than 50 deep"),
        ('a: "\\U00FFFFFF"', "f.yaml: this cannot be read as YAML: chr() arg not in range"),
        ("workers: 1\ndocs_url: \x00", "f.yaml:2: the character U+0000 may not be in YAML; remove it"),
        ("- 1", "f.yaml:1: expected a mapping (listen, workers, clients"),
    ],
)
def test_a_problem_is_told_with_its_line_its_path_and_its_remedy(text: str, expected: str) -> None:
    assert any(expected in line for line in problems(text)), problems(text)


def test_all_problems_are_told_in_the_order_of_their_lines() -> None:
    found = problems("workerz: 1\nlimits:\n  idle: 5\n  heat: 1\nupstreams:\n  o: {}\nmodels:\n  - {id: 1, id: 2, stage: 3}\n")
    assert [line.split(":")[1] for line in found] == ["1", "3", "4", "6", "8", "8", "8", "8"]


def test_what_surrounds_faulty_text_is_not_called_wrong_as_well() -> None:
    assert problems("workers: 99999999999999999999") == [
        "f.yaml:1: workers: this cannot be read as a number of at most 63 bits; mend it, or put it in quotes if it is text"
    ]


def test_aliases_that_multiply_end_soon() -> None:
    laughs = "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
    assert problems(laughs) == [
        "f.yaml:1: this cannot be read as YAML: aliases make it endless or far too large; mend the line or the one above it"
    ]


def test_norway_is_a_country_and_octal_is_decimal() -> None:
    config = parse_config("country_groups:\n  a: [NO, on, off, y]\n  b: {countries: [NO], date: 2026-11-01}\nworkers: 010", "f")
    assert config.country_groups["a"] == ("NO", "on", "off", "y")
    assert config.country_groups["b"] == CountryGroup(countries=("NO",), date=datetime.date(2026, 11, 1))
    assert config.workers == 10


def test_numbers_booleans_and_null_are_read_by_the_rules_of_yaml_1_2() -> None:
    assert parse_config(
        "{workers: 0x10, hold: {max_requests: 0o17}, geoip: {country: ~}, identity: {api_keys: FALSE}}", "f"
    ) == parse_config("{workers: 16, hold: {max_requests: 15}, geoip: {country: null}, identity: {api_keys: false}}", "f")
    for number in ("1e3", ".5", "-.inf", ".NaN", "1.e1"):
        assert any("got the number" in line for line in problems(f"docs_url: {number}"))


def test_an_alias_stands_for_its_value() -> None:
    config = parse_config("upstreams:\n  a: &a {url: x}\n  b: *a", "f")
    assert config.upstreams["a"] == config.upstreams["b"]


def test_instants_keep_their_offset() -> None:
    config = parse_config(DIRECTIVE.format("withdraw: true\n    from: 2026-11-23T00:00:00Z\n    until: 2026-11-23 01:00:00+02:00"), "f")
    assert config.directives[0].from_ == datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    assert config.directives[0].until == datetime.datetime(2026, 11, 22, 23, tzinfo=datetime.UTC)


def test_durations_and_sizes_become_seconds_and_bytes() -> None:
    config = parse_config("limits: {idle: 1.5m, head: 1KiB}\nenforcement: {lease: 250ms}\nhold: {wait: '0'}", "f")
    assert (config.limits.idle, config.limits.head, config.enforcement.lease, config.hold.wait) == (90.0, 1024, 0.25, 0.0)


def test_an_empty_file_is_the_defaults() -> None:
    assert parse_config("", "f") == parse_config("# nothing\n", "f") == Config()


def test_text_that_may_be_a_secret_is_not_repeated() -> None:
    assert "sk-live" not in "".join(problems("upstreams: {o: {url: x, credential: sk-live-123}}"))


def test_the_example_loads() -> None:
    config = load_config(str(ROOT / "config/frontiergate.yaml"), {})
    assert config.audit.path == str(ROOT / "config/audit")


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfworkers: 3\n")
    assert load_config(None, {"FRONTIERGATE_CONFIG": str(tmp_path / "c.yaml")}).workers == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read: No such file or directory; check"), (b"\xff\xfe", "byte 0 is not UTF-8; save the file")],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load_config(str(path), {})


def test_no_file_named_says_how_to_name_one() -> None:
    with pytest.raises(ConfigError, match="pass --config FILE or set FRONTIERGATE_CONFIG"):
        load_config(None, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("a\0b", {})


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = """
listen:
  data: {unix: run/data.sock, tls: {certificate: c.pem, key: k.pem, client_ca: /abs/ca.pem}}
  decision: {host: h, port: 1}
geoip: {country: ../geo/c.mmdb, anonymous: a.mmdb}
identity:
  issuers:
    - {issuer: i, jwks: keys.json, audiences: [a]}
    - {issuer: j, jwks: "https://j/keys.json", audiences: [a]}
upstreams: {o: {url: "https://o", ca: ca.pem, credential: {file: secret}}, p: {url: "https://p"}}
store: sqlite:state.db
control: {operators: [{name: o, token_file: token}, {name: p, token_env: T}]}
"""
    config = resolve_paths(parse_config(text, "f"), tmp_path / "conf")
    base = f"{tmp_path}/conf"
    tls = config.listen.data.tls
    assert tls is not None
    assert (config.listen.data.unix, tls.certificate, tls.client_ca) == (f"{base}/run/data.sock", f"{base}/c.pem", "/abs/ca.pem")
    assert (config.geoip.country, config.geoip.anonymous, config.geoip.asn) == (f"{tmp_path}/geo/c.mmdb", f"{base}/a.mmdb", None)
    assert [issuer.jwks for issuer in config.identity.issuers] == [f"{base}/keys.json", "https://j/keys.json"]
    credential = config.upstreams["o"].credential
    assert credential is not None
    assert (config.upstreams["o"].ca, credential.file, config.upstreams["p"].credential) == (f"{base}/ca.pem", f"{base}/secret", None)
    assert config.store == f"sqlite://{base}/state.db"
    assert config.audit.path == f"{base}/audit"
    assert [operator.token_file for operator in config.control.operators] == [f"{base}/token", None]
    assert resolve_paths(config, Path("/elsewhere")) == config


@pytest.mark.parametrize(
    ("store", "resolved"),
    [
        ("sqlite:///var/lib/state.db", "sqlite:///var/lib/state.db"),
        ("sqlite:////var/lib/state.db", "sqlite:///var/lib/state.db"),
        ("sqlite:a/../state.db", "sqlite:///base/state.db"),
        ("sqlite:///", "sqlite:///"),
        ("redis://host", "redis://host"),
        ("rediss://host:1/2?ca=ca.pem&wait=1", "rediss://host:1/2?ca=/base/ca.pem&wait=1"),
        ("redis+sentinel://a,b/gate?password_file=../secret&prefix=x", "redis+sentinel://a,b/gate?password_file=/secret&prefix=x"),
        ("redis://host?password_file=/run/secret&password_env=", "redis://host?password_file=/run/secret&password_env="),
        ("ftp://host?ca=ca.pem", "ftp://host?ca=ca.pem"),
    ],
)
def test_the_paths_in_a_stores_url_come_out_absolute(store: str, resolved: str) -> None:
    assert resolve_paths(parse_config(f"store: {store}", "f"), Path("/base")).store == resolved


def test_a_secret_is_read_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("s3cret\n")
    assert secret("S", None, {"S": "s3cret"}) == secret(None, str(tmp_path / "s"), {}) == "s3cret"


@pytest.mark.parametrize(
    ("env", "content", "expected"),
    [
        (None, None, "needs exactly one source; set either"),
        ("S", b"x", "needs exactly one source; set either"),
        ("UNSET", None, "the environment variable UNSET is not set; set it"),
        ("EMPTY", None, "the environment variable EMPTY is empty; write"),
        ("LINES", None, "LINES holds more than one line or characters that a header cannot carry; write the bare secret"),
        (None, b"", "is empty; write the secret"),
        (None, b"\xff\xfe", "is not text; write the secret"),
        (None, "s3cret-é".encode(), "a header cannot carry"),
    ],
)
def test_a_bad_secret_is_told_without_showing_it(tmp_path: Path, env: str | None, content: bytes | None, expected: str) -> None:
    file = None
    if content is not None:
        file = str(tmp_path / "s")
        Path(file).write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        secret(env, file, {"EMPTY": " ", "LINES": "s3cret\r\nx: y"})
    assert "s3cret" not in str(caught.value)


def test_a_secret_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; create it"):
        secret(None, str(tmp_path / "missing"), {})
    with pytest.raises(ConfigError, match=r"cannot be read: .*; create it"):
        secret(None, "a\0b", {})


def test_paths_read_like_the_file() -> None:
    assert [spelled(path) for path in ((), ("a", "b"), ("a", 0, "b c"))] == ["", "a.b: ", "a[0]['b c']: "]


SCALARS = st.sampled_from(
    ["NO", "5s", "64KiB", "~", "1", "1.5", "2026-11-01", "2026-13-01", "*a", "&a x", "!!int x", "'", '"\\x', "<<", "{", "]"]
)
KEYS = st.sampled_from([*Config.__struct_fields__, "id", "url", "require", "data", "host", "1", "?", "<<", "&a a"])
LINES = st.builds(
    lambda indent, dash, key, value: f"{'  ' * indent}{dash}{key}: {value}", st.integers(0, 4), st.sampled_from(["", "- "]), KEYS, SCALARS
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200), st.text("{}[]:,-?&*!|>'\"%@`#\\ \n\tax0Uu~.", max_size=60), st.lists(LINES, max_size=12).map("\n".join)
    )
)
def test_whatever_the_text_it_is_a_configuration_or_a_config_error(text: str) -> None:
    found: list[str] | None = None
    try:
        assert isinstance(parse_config(text, "f.yaml"), Config)
    except ConfigError as error:
        found = error.problems
    assert found is None or (found and all(line.startswith("f.yaml:") and "; " in line for line in found))


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "folder.yaml"
    path.mkdir()
    with pytest.raises(ConfigError, match=f"{os.strerror(21)}; check the name"):
        load_config(str(path), {})
