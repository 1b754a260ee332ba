"""A certificate authority that lives as long as one build.

The programs of a build are told to trust it, so that the proxy can read their https requests. Its
key never leaves this process's memory, so whoever trusts it later trusts nobody.

Certificates are valid from a day before the earlier of the build's epoch and this machine's clock:
the clock of a guest begins at the epoch, and programs on this machine have its own.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEFORE = timedelta(days=1)
AFTER = timedelta(days=3653)


class Authority:
    """Makes certificates for hosts. ``epoch``: seconds since 1970. ``folder``: private, for the
    moment in which OpenSSL reads a key."""

    def __init__(self, folder: Path, epoch: int, now: datetime) -> None:
        begin = datetime.fromtimestamp(epoch, UTC)
        self._folder = folder
        self._from = min(begin, now) - BEFORE
        self._until = max(begin, now) + AFTER
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imagectl build")])
        self._certificate = self._sign(
            self._key.public_key(),
            self._name,
            (
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (_usage(certificates=True), True),
            ),
        )
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    @property
    def pem(self) -> bytes:
        """The certificate that programs are to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def context(self, host: str) -> ssl.SSLContext:
        """What to speak TLS with as *host*, a name or an IP address."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._make_context(host)
            return self._contexts[host]

    def _make_context(self, host: str) -> ssl.SSLContext:
        leaf = self._sign(
            self._leaf_key.public_key(),
            x509.Name([]),
            (
                (x509.SubjectAlternativeName([_general_name(host)]), True),
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (_usage(certificates=False), True),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            ),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        fd, path = tempfile.mkstemp(dir=self._folder)
        try:
            with open(fd, "wb") as file:
                file.write(leaf.public_bytes(serialization.Encoding.PEM))
                file.write(
                    self._leaf_key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                )
            context.load_cert_chain(path)
        finally:
            os.unlink(path)
        return context

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        name: x509.Name,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...],
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
