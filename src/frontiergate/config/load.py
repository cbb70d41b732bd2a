"""Reads `frontiergate.yaml`. Every problem is told, as `file:line: path.to.key: what is wrong; what to do`."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from frontiergate.config import document, shape
from frontiergate.config.schema import Address, Config, Issuer, Operator, ServerTls, Upstream
from frontiergate.config.store_url import resolve_store_url
from frontiergate.errors import ConfigError

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PART = TypeVar("_PART", bound=msgspec.Struct)


def load_config(path: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration at `path`, by default at $FRONTIERGATE_CONFIG, with the paths in it made absolute. Raises ConfigError."""
    path = path or environ.get("FRONTIERGATE_CONFIG")
    if not path:
        raise ConfigError(["no configuration file is named; pass --config FILE or set FRONTIERGATE_CONFIG"])
    return resolve_paths(parse_config(read_text(path), path), Path(path).absolute().parent)


def read_text(path: str) -> str:
    """The text of a configuration file. Raises ConfigError."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([f"{path}: cannot be read: {why}; check the name and its permissions"]) from error


def read_snapshot(snapshot: str, source: str) -> Config:
    """The configuration as a supervisor has proved and kept it; relative paths still belong to `source`, the operator's file."""
    return resolve_paths(parse_config(read_text(snapshot), source), Path(source).absolute().parent)


def parse_config(text: str, source_name: str) -> Config:
    """The configuration that `text` says. Raises ConfigError with all problems, in the order of their lines."""
    read = document.read_document(text, source_name)
    # What faulty text was meant to say is unknown: of its place, nothing more can be told.
    unknown = {fault.path for fault in read.faults}
    faults = [
        document.Fault(read.line(path), path, message)
        for path, message in shape.problems_of(read.value, Config)
        if not any(path[: len(place)] == place for place in unknown)
    ]
    faults = sorted([*read.faults, *faults], key=lambda fault: fault.line)
    if faults:
        raise ConfigError([f"{source_name}:{fault.line}: {spelled(fault.path)}{fault.message}" for fault in faults])
    try:
        return msgspec.convert(read.value, Config, dec_hook=shape.decode)
    except msgspec.ValidationError as error:  # a rule of msgspec that `shape` does not know: one problem, without a line
        raise ConfigError([f"{source_name}: {error}; see the configuration reference"]) from error


def spelled(path: document.Path) -> str:
    """`listen.data.port: ` or `models[0].id: `; nothing for the document as a whole."""
    text = ""
    for step in path:
        if isinstance(step, int) or not _PLAIN_KEY.fullmatch(step):
            text += f"[{step!r}]"
        else:
            text += f".{step}" if text else step
    return f"{text}: " if text else ""


def placed(text: str, source_name: str) -> Callable[[str], str]:
    """Tells `file:line` of what stands at a path as `spelled` writes it, or of the nearest thing around it."""
    lines = {spelled(path).removesuffix(": "): line for path, line in document.read_document(text, source_name).lines.items()}

    def place(path: str) -> str:
        while path and path not in lines:
            path = path[: max(0, *(path.rfind(sign) for sign in ".[:"))]
        return f"{source_name}:{lines.get(path, 1)}"

    return place


def resolve_paths(config: Config, base: Path) -> Config:
    """The same configuration with every relative file path in it taken from `base`, the folder of the file."""

    def whole(path: str | None) -> str | None:
        return None if path is None else os.path.normpath(base / path)

    def with_paths(part: _PART, *names: str) -> _PART:
        return msgspec.structs.replace(part, **{name: whole(getattr(part, name)) for name in names})

    def tls(part: ServerTls | None) -> ServerTls | None:
        return part and with_paths(part, "certificate", "key", "client_ca")

    def address(part: Address) -> Address:
        return msgspec.structs.replace(with_paths(part, "unix"), tls=tls(part.tls))

    def issuer(part: Issuer) -> Issuer:
        return part if is_url(part.jwks) else with_paths(part, "jwks")

    def upstream(part: Upstream) -> Upstream:
        credential = part.credential and with_paths(part.credential, "file")
        return msgspec.structs.replace(with_paths(part, "ca"), credential=credential)

    def operator(part: Operator) -> Operator:
        return with_paths(part, "token_file")

    listen, identity, control = config.listen, config.identity, config.control
    return msgspec.structs.replace(
        config,
        listen=msgspec.structs.replace(
            listen,
            data=address(listen.data),
            control=address(listen.control),
            decision=listen.decision and address(listen.decision),
        ),
        geoip=with_paths(config.geoip, "country", "anonymous", "asn"),
        identity=msgspec.structs.replace(identity, issuers=tuple(map(issuer, identity.issuers))),
        upstreams={name: upstream(part) for name, part in config.upstreams.items()},
        store=resolve_store_url(config.store, base),
        audit=with_paths(config.audit, "path"),
        control=msgspec.structs.replace(control, operators=tuple(map(operator, control.operators))),
    )


def is_url(text: str) -> bool:
    """Whether `text` is a URL rather than a file path."""
    return "://" in text


def secret(env: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """A secret from the environment or from a file. Raises ConfigError, which never shows it."""
    if (env is None) == (file is None):
        raise ConfigError(["a secret needs exactly one source; set either the environment variable's name or the file"])
    if env is not None:
        source = f"the environment variable {env}"
        value = environ.get(env)
        if value is None:
            raise ConfigError([f"{source} is not set; set it to the secret"])
    else:
        source = f"the file {file}"
        try:
            value = Path(str(file)).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError([f"{source} is not text; write the secret to it in ASCII"]) from error
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError([f"{source} cannot be read: {why}; create it, readable for the gate only"]) from error
    value = value.strip()
    if not value:
        raise ConfigError([f"{source} is empty; write the secret to it"])
    if not (value.isascii() and value.isprintable()):  # it becomes part of a header: RFC 9110 5.5
        raise ConfigError([f"{source} holds more than one line or characters that a header cannot carry; write the bare secret to it"])
    return value
