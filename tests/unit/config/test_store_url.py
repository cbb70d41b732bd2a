"""What a store's URL says, and what is said of one that cannot be used: never the password that stands in it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.config.store_url import RedisUrl, SqliteUrl, read_store_url
from frontiergate.errors import ConfigError


def redis(url: str) -> RedisUrl:
    read = read_store_url(url)
    assert isinstance(read, RedisUrl)
    return read


def wrong(url: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_store_url(url)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"layout": "server", "tls": False, "hosts": (("h", 6379),), "database": 0, "user": None}),
        ("redis://h:1/2", {"hosts": (("h", 1),), "database": 2}),
        ("redis://gate@h", {"user": "gate"}),
        ("redis://a%40b@h", {"user": "a@b"}),
        ("redis://@h", {"user": None}),
        ("redis://[::1]:7", {"hosts": (("::1", 7),)}),
        ("rediss://10.0.0.1", {"tls": True, "hosts": (("10.0.0.1", 6379),)}),
        ("redis+sentinel://a,b:1/gate", {"layout": "sentinel", "hosts": (("a", 26379), ("b", 1)), "service": "gate", "database": 0}),
        ("rediss+sentinel://u@a/gate/3", {"layout": "sentinel", "tls": True, "user": "u", "service": "gate", "database": 3}),
        ("redis+cluster://a,b:1", {"layout": "cluster", "hosts": (("a", 6379), ("b", 1))}),
        ("redis+cluster://a/0", {"database": 0}),
        ("redis://h", {"prefix": "frontiergate", "timeout": 2.0, "wait": None, "waitaof": None, "has_password": False, "copies": 0}),
        ("redis://h?prefix=eu:1&timeout=250ms&wait=2", {"prefix": "eu:1", "timeout": 0.25, "wait": 2, "copies": 2}),
        ("redis://h?waitaof=0", {"waitaof": 0, "copies": 0}),
        ("redis://h?password_env=P", {"password_env": "P", "has_password": True}),
        ("redis://h?password_file=/p", {"password_file": "/p", "has_password": True}),
        ("redis+sentinel://a/g?sentinel_password_env=S", {"sentinel_password_env": "S", "has_password": False}),
        ("rediss://h?ca=/a&certificate=/c&key=/k", {"ca": "/a", "certificate": "/c", "key": "/k"}),
    ],
)
def test_a_url_says_which_server_and_how_it_is_used(url: str, expected: dict[str, object]) -> None:
    read = redis(url)
    assert {name: getattr(read, name) for name in expected} == expected


def test_a_url_of_a_file_says_its_path() -> None:
    assert read_store_url("sqlite:///var/lib/state.db") == SqliteUrl("/var/lib/state.db")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://relative",
        "sqlite:///",
        "sqlite:state.db",
        "state.db",
        "",
        "http://h",
        "redis:/h",
        "redis://h h",
        "redis://h\n",
        "redis://[::1",
        "redís://h",
    ],
)
def test_what_is_no_store_is_answered_with_the_forms_that_there_are(url: str) -> None:
    assert "write sqlite:///absolute/path.db, redis://host:6379, redis+sentinel://host:26379,…/service or" in wrong(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://u:p4ss@h", "holds a password, which would be shown with it; remove it, and name where it is: ?password_env=NAME"),
        ("redis://:p4ss@h", "holds a password"),
        ("redis://u:p4ss@x@h", "holds a password"),
        ("redis://h?password=p4ss", "has an unknown parameter 'password'; did you mean 'password_"),
        ("redis://", "names a host that cannot be read"),
        ("redis://h:0", "names a host that cannot be read"),
        ("redis://h:65536", "names a host that cannot be read"),
        ("redis://h:p4ss", "names a host that cannot be read"),
        ("redis://a,b", "names several hosts; write redis+sentinel:// for Sentinels"),
        (
            "redis+sentinel://a,b",
            "does not say which master the Sentinels are to be asked for; write redis+sentinel://host:26379,…/service",
        ),
        ("redis+sentinel://a/g/x", "has a path that is no database's number"),
        ("redis://h/1/2", "has a path that is no database's number; write it as /0"),
        ("redis+cluster://a/1", "names a database, but a Cluster has only number 0"),
        ("redis://h#p4ss", "holds a fragment"),
        ("redis://h?wait=1&wait=2", "has the parameter wait twice; keep one"),
        ("redis://h?wait=many", "has a parameter wait that cannot be used: it must be a number of replicas, such as 1; correct it"),
        ("redis://h?timeout=2", "has a parameter timeout that cannot be used"),
        ("redis://h?timeout=1ms", "has a parameter timeout that cannot be used: it must be from 50ms to 60s; correct it"),
        ("redis://h?prefix={x}", "has a parameter prefix that cannot be used: it must be letters"),
        ("redis://h?ca=", "has a parameter ca that cannot be used: it is empty; correct it"),
        ("redis://h?password_env=A&password_file=/b", "has both password_env and password_file; keep"),
        ("redis+sentinel://h/g?sentinel_password_env=A&sentinel_password_file=/b", "has both sentinel_password_env and"),
        ("redis://h?sentinel_password_env=A", "has a password for Sentinels, but is not redis+sentinel://; remove it"),
        ("redis://h?wait=1&waitaof=1", "has both wait and waitaof; keep waitaof"),
        ("redis://h?ca=/a", "has files for TLS but does not use it; write rediss://"),
        ("rediss://h?key=/k", "has a certificate without its key, or a key without its certificate; name both"),
    ],
)
def test_a_mistake_is_told_with_what_to_do_and_without_the_url(url: str, problem: str) -> None:
    said = wrong(url)
    assert said.startswith(problem) or problem in said
    assert "p4ss" not in said


@pytest.mark.parametrize(
    "url", ["redis://h:6379", "rediss://h:1/2", "redis+sentinel://a:26379,b:2/gate", "rediss+cluster://[::1]:6379,b:2"]
)
def test_what_logs_call_it_leads_back_to_it(url: str) -> None:
    assert str(redis(url)) == url


def test_logs_call_it_by_its_place_only() -> None:
    assert str(redis("redis://gate@h?password_env=P&prefix=x")) == "redis://h:6379"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://h/{text}", f"redis://h?{text}", f"redis://h?timeout={text}"):
        with contextlib.suppress(ConfigError):
            read_store_url(url)
