"""How a client proves who it is and whom it trusts, and what is wrong where a broker refuses it.

kafka-python tries a broker that refuses a password or shows a strange certificate again and again, until its time
is up, and then says that no broker answered. The client class made here ends at the first refusal, and keeps why.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from pipelines.errors import UsageError
from pipelines.secrets import KAFKA_KEY_PASSWORD, KAFKA_PASSWORD, load_secret
from pipelines.settings import KafkaSettings

_TLS: Final = ("SSL", "SASL_SSL")
_RIGHTS: Final = "docs/operator.md has a table of the rights that each role needs"


def uses_tls(settings: KafkaSettings) -> bool:
    """Is the way to the brokers encrypted?"""
    return settings.security_protocol in _TLS


def uses_sasl(settings: KafkaSettings) -> bool:
    """Does a user with a password log in?"""
    return settings.security_protocol.startswith("SASL_")


def tls_context(settings: KafkaSettings, environ: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Whom to trust and, with a client certificate, who we are; names of hosts are always checked.

    Raises:
        UsageError: a file cannot be read or is not what it should be, or the key's password is wrong.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
    except OSError as error:
        raise UsageError(
            f"kafka.ssl_cafile names {settings.ssl_cafile}, which cannot be used: {_reason(error)}"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ssl_certfile:
        password = load_secret(KAFKA_KEY_PASSWORD, environ)
        try:
            # Without the empty one a key that has a password would be asked for on the terminal.
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None, password or "")
        except (OSError, ValueError) as error:
            files = " and ".join(name for name in (settings.ssl_certfile, settings.ssl_keyfile) if name)
            raise UsageError(
                f"kafka.ssl_certfile and kafka.ssl_keyfile name {files}, which cannot be used: {_reason(error)}; both "
                f"are PEM, and the password of the key comes from {KAFKA_KEY_PASSWORD} or {KAFKA_KEY_PASSWORD}_FILE"
            ) from None
    return context


def login(settings: KafkaSettings, environ: Mapping[str, str] | None = None) -> str:
    """The password of the SASL user.

    Raises:
        UsageError: no user in the config, or no password in the environment.
    """
    password = load_secret(KAFKA_PASSWORD, environ)
    if not settings.sasl_username:
        raise UsageError("kafka.security_protocol wants SASL and kafka.sasl_username is empty; set it")
    if password is None:
        raise UsageError(
            f"kafka.security_protocol wants SASL and there is no password; set {KAFKA_PASSWORD} or "
            f"{KAFKA_PASSWORD}_FILE"
        )
    return password


@lru_cache(maxsize=1)
def refusable_client() -> Any:
    """The class of kafka-python's inner client that ends at the first refusal; its option `kafka_client`.

    Only until the client has met its brokers: from then on a refusal may be a broker that restarts.
    """
    from kafka.net.compat import KafkaNetClient
    from kafka.net.manager import KafkaConnectionManager
    from kafka.net.selector import NetworkSelector

    class Manager(KafkaConnectionManager):  # type: ignore[misc]
        refusal: BaseException | None = None

        def get_connection(self, *arguments: Any, **options: Any) -> Any:
            if self.bootstrapped:
                return super().get_connection(*arguments, **options)
            if self.refusal is not None:
                raise self.refusal
            connection = super().get_connection(*arguments, **options)
            connection.init_future.add_errback(self._keep)
            return connection

        async def _build_transport(self, *arguments: Any, **options: Any) -> Any:
            transport = await super()._build_transport(*arguments, **options)
            if not self.bootstrapped:
                transport._sock_recv = _last_words(transport._sock_recv)
            return transport

        def _keep(self, error: BaseException) -> None:
            if is_refusal(error):
                self.refusal = error

    class Client(KafkaNetClient):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            net = NetworkSelector(**options)
            super().__init__(net, Manager(net, **options), **options)

    return Client


def _last_words(receive: Callable[[], tuple[bytes, Any]]) -> Callable[[], tuple[bytes, Any]]:
    """What a broker said before it hung up, and only then that it did.

    kafka-python (seen in 3.0.12) drops bytes that it reads together with the end of the connection. A broker that
    refuses a password says so and hangs up at once.
    """
    end: list[Any] = []

    def received() -> tuple[bytes, Any]:
        if end:
            return b"", end.pop()
        said, error = receive()
        if said and error is not None:
            end.append(error)
            return said, None
        return said, error

    return received


def is_refusal(error: BaseException) -> bool:
    """Is it of no use to try again? A connection that breaks within a handshake may be a broker that restarts."""
    from kafka.errors import SaslAuthenticationFailedError, UnsupportedSaslMechanismError

    return isinstance(error, SaslAuthenticationFailedError | UnsupportedSaslMechanismError) or _tls(error) is not None


def _tls(error: BaseException) -> ssl.SSLError | None:
    """What TLS said; kafka-python wraps it in an error of its own."""
    for one in (error, error.__cause__, error.__context__, *error.args):
        if isinstance(one, ssl.SSLError) and not isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return one
    return None


def explain(settings: KafkaSettings, error: BaseException) -> str:
    """What to tell a user of an error of a Kafka client: what is wrong, and what to set right.

    >>> from kafka.errors import GroupAuthorizationFailedError
    >>> settings = KafkaSettings(security_protocol="SASL_SSL", sasl_username="detect")
    >>> explain(settings, GroupAuthorizationFailedError("dw-detect")).split(";")[0]
    'Kafka at 127.0.0.1:9092 does not allow the user detect that: GroupAuthorizationFailedError: dw-detect'
    """
    from kafka.errors import (
        AuthorizationError,
        FencedInstanceIdError,
        SaslAuthenticationFailedError,
        UnsupportedSaslMechanismError,
    )

    where = f"Kafka at {settings.bootstrap}"
    kind = type(error).__name__
    # An error without words of its own has those of its kind, which say nothing more.
    detail = "; ".join(str(one) for one in error.args)
    said = f"{kind}: {detail}" if detail else kind
    tls = _tls(error)
    if isinstance(error, SaslAuthenticationFailedError):
        return (
            f"{where} refuses the user {settings.sasl_username} ({settings.sasl_mechanism}); set kafka.sasl_username, "
            f"and its password in {KAFKA_PASSWORD} or {KAFKA_PASSWORD}_FILE"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"{where} does not take kafka.sasl_mechanism = {settings.sasl_mechanism}: {said}"
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f"{where} has a certificate that is not trusted: {tls.verify_message}; kafka.ssl_cafile has to name the "
            "authority that signed it, and kafka.bootstrap a host that it was made for"
        )
    if tls is not None:
        return (
            f"TLS with {where} fails: {_reason(tls)}; is kafka.security_protocol that of the listener, and does it "
            "want a client's certificate (kafka.ssl_certfile)?"
        )
    if isinstance(error, AuthorizationError):
        who = f"the user {settings.sasl_username}" if uses_sasl(settings) else "this client"
        return f"{where} does not allow {who} that: {said}; {_RIGHTS}"
    if isinstance(error, FencedInstanceIdError):
        return (
            f"{where}: another worker of the group runs as {settings.group_instance_id}; give each its own --instance"
        )
    return f"{where}: {said}"


def to_put_right(error: BaseException) -> BaseException | None:
    """What a user can put right of what an error comes from: a missing right, a name that is taken; else None."""
    from kafka.errors import AuthorizationError, FencedInstanceIdError

    at: BaseException | None = error
    while at is not None and not isinstance(at, AuthorizationError | FencedInstanceIdError):
        at = at.__cause__
    return at


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)
