"""A certificate authority for tests: real certificates, made anew for each test that needs one."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates and writes them into `directory` as PEM files."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key, None)
        self.path = str(directory / f"{name}.pem")
        Path(self.path).write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issues(self, name: str) -> tuple[str, str]:
        """A certificate for the DNS name or address `name`, and its key: two paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, self._certificate.subject)
        paths = self._directory / f"{self._name}-{name}.crt", self._directory / f"{self._name}-{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return str(paths[0]), str(paths[1])

    def server(self, name: str) -> ssl.SSLContext:
        """A server's context with a certificate for `name`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issues(name))
        return context

    def client(self, identity: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority, perhaps with a certificate of its own."""
        context = ssl.create_default_context(cafile=self.path)
        if identity is not None:
            context.load_cert_chain(*identity)
        return context

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if issuer is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
