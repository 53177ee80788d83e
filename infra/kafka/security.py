"""TLS, users and an authoriser for a local broker: what a production broker has, for tests and trials.

The certificates are made by `openssl`, with an authority of their own. The controller's listener stays plain on
loopback, so this protects nobody from a process of the same machine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.kafka.jars import BrokerUnavailable

MECHANISM: Final = "SCRAM-SHA-512"
LISTENER: Final = "SECURE"
_DAYS: Final = "3650"
_TIMEOUT_S: Final = 60


@dataclass(frozen=True)
class Authority:
    """An authority that signs certificates; its key lies beside `ca.pem` in `folder`."""

    folder: Path

    @property
    def cafile(self) -> Path:
        """What its clients trust, PEM."""
        return self.folder / "ca.pem"

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """A new authority.

        Raises:
            BrokerUnavailable: there is no `openssl`, or it fails.
        """
        folder.mkdir(parents=True, exist_ok=True)
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        _openssl(folder / "ca.key", folder / "ca.pem", "authority", ["-addext", usage])
        return cls(folder)

    def sign(self, name: str, *, hosts: Sequence[str] = ()) -> tuple[Path, Path]:
        """Files of a certificate and its key, PEM, without a password; `hosts` such as `IP:127.0.0.1`.

        Raises:
            BrokerUnavailable: `openssl` fails.
        """
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        options = ["-CA", str(self.cafile), "-CAkey", str(self.folder / "ca.key")]
        options += ["-addext", "basicConstraints=critical,CA:FALSE"]
        if hosts:
            options += ["-addext", f"subjectAltName={','.join(hosts)}"]
        _openssl(key, certificate, name, options)
        return certificate, key


def _openssl(key: Path, certificate: Path, name: str, options: list[str]) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise BrokerUnavailable("openssl is not on PATH; a broker with TLS needs it for its certificates")
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", _DAYS, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise BrokerUnavailable(f"openssl could not make the certificate {name}: {done.stderr.strip()[-400:]}")


@dataclass(frozen=True)
class BrokerSecurity:
    """A listener with SASL_SSL and SCRAM that wants a client's certificate as well, and refuses what no ACL allows.

    Attributes:
        authority: that signs the broker's certificate, and whose clients it takes.
        passwords: by user; written into the broker's data folder when that is formatted.
        admin: the user who may do everything.
    """

    authority: Authority
    passwords: Mapping[str, str]
    admin: str = "admin"

    def broker_files(self) -> tuple[Path, Path]:
        """The broker's store of certificate and key in one file, and the store of whom it trusts."""
        store = self.authority.folder / "broker-store.pem"
        if not store.is_file():
            certificate, key = self.authority.sign("broker", hosts=["IP:127.0.0.1", "DNS:localhost"])
            store.write_text(key.read_text() + certificate.read_text())
        return store, self.authority.cafile

    def properties(self, advertised: str) -> dict[str, object]:
        """Settings of the broker that replace those of an open one; `advertised` is host:port for clients."""
        store, trusted = self.broker_files()
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        jaas = f'{login} username="{self.admin}" password="{self.passwords[self.admin]}";'
        listener = f"listener.name.{LISTENER.lower()}"
        return {
            "advertised.listeners": f"{LISTENER}://{advertised}",
            "listener.security.protocol.map": f"{LISTENER}:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": LISTENER,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.enabled.mechanisms": MECHANISM,
            f"{listener}.{MECHANISM.lower()}.sasl.jaas.config": jaas,
            f"{listener}.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": trusted,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Without a name comes only what uses the controller's listener: this broker.
            "super.users": f"User:{self.admin};User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def format_options(self) -> list[str]:
        """Options of `kafka.tools.StorageTool format` that make the users known."""
        return [
            option
            for name, password in self.passwords.items()
            for option in ("--add-scram", f"{MECHANISM}=[name={name},password={password}]")
        ]

    def client_options(self, user: str) -> dict[str, Any]:
        """Options of kafka-python for a user."""
        certificate, key = self.client_files()
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.authority.cafile),
            "ssl_certfile": str(certificate),
            "ssl_keyfile": str(key),
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords[user],
        }

    def client_files(self) -> tuple[Path, Path]:
        """Certificate and key of a client."""
        certificate = self.authority.folder / "client.pem"
        return (
            (certificate, certificate.with_suffix(".key")) if certificate.is_file() else self.authority.sign("client")
        )
