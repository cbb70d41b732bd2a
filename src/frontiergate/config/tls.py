"""TLS of the gate's own listeners (`listen.*.tls`)."""

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
