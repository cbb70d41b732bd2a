"""TLS of the gate's own listeners (`listen.*.tls`) and to its upstreams."""

import ssl

from frontiergate.config.schema import Address
from frontiergate.errors import ConfigError


def server_context(address: Address, path: str) -> ssl.SSLContext | None:
    """TLS 1.2 and up for who connects to `address`; None where it has no TLS. Raises ConfigError, which names `path`."""
    tls = address.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError([f"{path}.tls: {error}; check the files certificate, key and client_ca"]) from error
    return context


def client_context(ca: str | None, path: str) -> ssl.SSLContext:
    """TLS to a server, verified by the authorities in the file `ca`, or the system's. Raises ConfigError, which names `path`."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigError([f"{path}.ca: {error}; check that the file holds certificates in PEM"]) from error
