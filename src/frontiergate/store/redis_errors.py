"""What Redis, or whatever answers in its place, says; in our words, with what to do about it."""

import re

from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from frontiergate.errors import ConfigError, StoreUnavailable

# By the code that a reply begins with (redis.io, "Redis serialization protocol", errors). A script's error has it somewhere inside.
_REPLIES = {
    "NOAUTH": "it wants a password; name where it is, with ?password_env=NAME or ?password_file=PATH",
    "WRONGPASS": "it does not accept the user or the password; correct the URL's user, or what password_env or password_file names",
    "NOPERM": "the user lacks a permission; grant it as docs/how-to/share-a-store.md lists them",
    "LOADING": "it is still loading its data; it is asked again",
    "READONLY": "it is a replica, which must not be written; name the master, or use redis+sentinel://",
    "OOM": "its memory is full; raise maxmemory, or remove what else is in it",
    "NOREPLICAS": "it has too few replicas to take writes (min-replicas-to-write); bring them back",
    "MISCONF": "it cannot write to its disk and takes no writes; look at its log",
    "MASTERDOWN": "it has lost its master; bring that back, or let the Sentinels choose another",
    "CLUSTERDOWN": "its Cluster is not complete; bring the missing nodes back",
    "TRYAGAIN": "the Cluster is moving our keys to another node; they are asked for again",
    "ASK": "the Cluster is moving our keys to another node; they are asked for again",
    "MOVED": "the Cluster moved our keys to another node; with redis:// in the URL, write redis+cluster://",
    "BUSY": "it is busy with another program's script; give the gate a server of its own",
}
_IN_SCRIPT = re.compile(r"[-\s]({})\s".format("|".join(_REPLIES)))
_NO_PERMISSION = re.compile("can't run this command|can't access at least one of the keys|has no permissions")


class AnswerLost(StoreUnavailable):
    """Commands were sent, and no whole answer came: whether they had an effect cannot be told."""


class Crowded(StoreUnavailable):
    """More was asked at once than is answered in time; nothing was sent, and the server may be well."""


def unavailable(name: str, error: Exception) -> StoreUnavailable:
    """Why no answer came from the store called `name`."""
    return StoreUnavailable(f"store {name}: {_why(error)}")


def lost(name: str, error: Exception) -> AnswerLost:
    return AnswerLost(f"store {name}: {_why(error)}")


def refused(name: str, error: ResponseError) -> StoreUnavailable:
    """What its reply means."""
    return StoreUnavailable(f"store {name}: {_why(error)}")


def code_of(error: Exception) -> str:
    """The reply's code where it is one that we know, else nothing."""
    first = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    if first in _REPLIES:
        return str(first)
    found = _IN_SCRIPT.search(str(error))
    if found:
        return found[1]
    return "NOPERM" if _NO_PERMISSION.search(str(error)) else ""


def _why(error: Exception) -> str:
    if "WRONGTYPE" in str(error):
        return "another program's keys are under this prefix; choose another, with ?prefix=NAME"
    code = code_of(error)
    if code:
        return f"{_REPLIES[code]} ({error})"
    text = str(error)
    match error:
        case ConfigError():
            return text
        case AuthenticationError():
            return f"{_REPLIES['WRONGPASS']} ({error})"
        case ResponseError():
            return f"it answers with an error ({error})"
        case InvalidResponse() | ValueError():
            return "what answers there does not speak Redis's protocol; correct the host and the port"
        case RedisConnectionError() | OSError() if "CERTIFICATE_VERIFY_FAILED" in text:
            return f"its certificate is not to be trusted; name the authority's file with ?ca=PATH, or correct the host ({error})"
        case RedisConnectionError() | OSError() if "[SSL" in text:
            return f"TLS fails; correct the port, or write redis:// where it has none ({error})"
        case TimeoutError() | RedisTimeoutError():
            return "it does not answer in time; look at the server, the network and whether it has TLS, or raise ?timeout="
        case RedisConnectionError() if "closed" in text or "reset" in text:
            return f"it ended the connection; look at its log, and whether it wants TLS or a certificate ({error})"
        case RedisError() | OSError():
            return f"it cannot be reached; check that it runs, the host and the port ({error})"
        case _:
            return text
