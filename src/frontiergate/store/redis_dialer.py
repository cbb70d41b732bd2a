"""Makes connections to Redis as the URL says: user, password, database, TLS."""

import os
import ssl
from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection

from frontiergate.config.load import secret
from frontiergate.config.store_url import Host, RedisUrl


class Dialer:
    """Passwords and certificates are read anew where they changed, so that they can be replaced while the gate runs.

    Both methods return a connection that is not connected yet. They raise ConfigError where a password cannot be read, OSError
    (ssl.SSLError is one) where a certificate cannot.
    """

    def __init__(self, url: RedisUrl, environ: Mapping[str, str]) -> None:
        self.url = url
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        self._made_of: list[int] = []  # when the context's files were written

    def to(self, host: Host) -> AbstractConnection:
        """To a server that holds data."""
        url = self.url
        password = secret(url.password_env, url.password_file, self._environ) if url.has_password else None
        return self._connection(host, db=url.database, username=url.user, password=password)

    def to_sentinel(self, host: Host) -> AbstractConnection:
        env, file = self.url.sentinel_password_env, self.url.sentinel_password_file
        return self._connection(host, password=secret(env, file, self._environ) if env or file else None)

    def _connection(self, host: Host, **options: Any) -> AbstractConnection:
        # RESP2 and no driver_info: nothing is sent on connecting but AUTH and SELECT, so that an ACL need not allow more.
        options |= {"host": host[0], "port": host[1], "protocol": 2, "driver_info": None, "socket_keepalive": True}
        options |= {"socket_timeout": None, "socket_connect_timeout": None}  # each operation has a deadline of its own
        if not self.url.tls:
            return Connection(**options)
        connection = SSLConnection(**options)
        connection.ssl_context.context = self._tls()  # made once: redis-py would read the system's authorities for each (20 ms)
        return connection

    def _tls(self) -> ssl.SSLContext:
        url = self.url
        made_of = [os.stat(file).st_mtime_ns for file in (url.ca, url.certificate, url.key) if file is not None]
        if self._context is None or made_of != self._made_of:
            context = ssl.create_default_context(cafile=url.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if url.certificate is not None:
                context.load_cert_chain(url.certificate, url.key)
            self._context, self._made_of = context, made_of
        return self._context
