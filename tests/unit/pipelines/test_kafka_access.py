"""What a user is told of a broker that refuses, and the files of TLS, without a broker."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from kafka.errors import (
    FencedInstanceIdError,
    KafkaConnectionError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from infra.kafka.security import Authority
from pipelines.errors import Failure, UsageError
from pipelines.kafka_access import _last_words, explain, is_refusal, tls_context, to_put_right
from pipelines.kafka_io import DeliveryFailure, connection_options, heartbeat_s
from pipelines.secrets import KAFKA_KEY_PASSWORD, KAFKA_PASSWORD
from pipelines.settings import KafkaSettings

SETTINGS = KafkaSettings(
    bootstrap="kafka:9093", security_protocol="SASL_SSL", sasl_username="detect", group_instance_id="w-1"
)


def wrapped(error: Exception) -> Exception:
    """As kafka-python does it with an error of a handshake."""
    try:
        try:
            raise error
        except Exception as inner:
            raise KafkaConnectionError(f"Handshake failed: {inner}")  # noqa: B904
    except KafkaConnectionError as outer:
        return outer


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate in certificate chain"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SaslAuthenticationFailedError("no"), "refuses the user detect (SCRAM-SHA-512)"),
        (UnsupportedSaslMechanismError("has PLAIN"), "does not take kafka.sasl_mechanism = SCRAM-SHA-512"),
        (wrapped(untrusted()), "not trusted: self-signed certificate in certificate chain; kafka.ssl_cafile"),
        (wrapped(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version")), "is kafka.security_protocol that of"),
        # With TLS 1.3 a certificate that is refused is heard of only when reading.
        (KafkaConnectionError(ssl.SSLError(1, "bad certificate")), "kafka.ssl_certfile"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again(error: Exception, words: str) -> None:
    assert is_refusal(error)
    assert words in explain(SETTINGS, error)


def test_a_broker_that_hangs_up_is_heard_out() -> None:
    hung_up = KafkaConnectionError("socket disconnected")
    reads = iter([(b"one", None), (b"refused", hung_up), (b"", hung_up)])
    receive = _last_words(lambda: next(reads))
    assert [receive() for _ in range(4)] == [(b"one", None), (b"refused", None), (b"", hung_up), (b"", hung_up)]


@pytest.mark.parametrize(
    "error",
    [
        KafkaTimeoutError("late"),
        KafkaConnectionError("socket disconnected"),
        wrapped(ConnectionRefusedError(111, "refused")),
        # A broker that restarts in the middle of a handshake.
        wrapped(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert not is_refusal(error)
    assert explain(SETTINGS, error).startswith(f"Kafka at kafka:9093: {type(error).__name__}")


def test_a_missing_right_is_told_with_where_rights_are_described() -> None:
    told = explain(SETTINGS, TopicAuthorizationFailedError({"alerts"}))
    assert "does not allow the user detect" in told
    assert "alerts" in told
    assert "docs/operator.md" in told
    # A client's certificate may be all that it has.
    assert "this client" in explain(KafkaSettings(), TopicAuthorizationFailedError())


def test_a_missing_right_is_found_under_what_it_spoilt() -> None:
    lack = TopicAuthorizationFailedError({"alerts"})
    failure = DeliveryFailure("could not send")
    failure.__cause__ = lack
    outer = Failure("stopped")
    outer.__cause__ = failure
    assert to_put_right(outer) is lack
    assert to_put_right(Failure("stopped")) is None


def test_a_name_that_is_taken_is_told() -> None:
    assert "runs as w-1; give each its own --instance" in explain(SETTINGS, FencedInstanceIdError("x"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def test_hosts_and_certificates_are_always_checked(authority: Authority) -> None:
    certificate, key = authority.sign("client")
    settings = KafkaSettings(
        security_protocol="SSL", ssl_cafile=str(authority.cafile), ssl_certfile=str(certificate), ssl_keyfile=str(key)
    )
    context = connection_options(settings, {})["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1, "an authority of one's own replaces those of the system"


def test_a_file_that_is_not_there_or_not_pem_is_named(authority: Authority, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for file in (str(tmp_path / "absent.pem"), str(text)):
        with pytest.raises(UsageError, match=f"kafka.ssl_cafile names {file}"):
            tls_context(KafkaSettings(security_protocol="SSL", ssl_cafile=file), {})
        with pytest.raises(UsageError, match=f"kafka.ssl_keyfile name {file}"):
            tls_context(KafkaSettings(security_protocol="SSL", ssl_certfile=file), {})
    certificate, _ = authority.sign("one")
    _, other = authority.sign("other")
    with pytest.raises(UsageError, match="key values mismatch"):
        tls_context(KafkaSettings(security_protocol="SSL", ssl_certfile=str(certificate), ssl_keyfile=str(other)), {})


def test_the_password_of_a_key_comes_from_the_environment_and_is_never_asked_for(
    authority: Authority, tmp_path: Path
) -> None:
    import subprocess

    certificate, key = authority.sign("locked")
    locked = tmp_path / "locked.key"
    command = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-in",
        key,
        "-out",
        locked,
        "-v2",
        "aes-256-cbc",
        "-passout",
        "pass:s3cret",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    settings = KafkaSettings(security_protocol="SSL", ssl_certfile=str(certificate), ssl_keyfile=str(locked))
    assert tls_context(settings, {KAFKA_KEY_PASSWORD: "s3cret"})
    for environ in ({}, {KAFKA_KEY_PASSWORD: "another"}):
        with pytest.raises(UsageError, match=f"{KAFKA_KEY_PASSWORD}_FILE") as raised:
            tls_context(settings, environ)
        assert "another" not in str(raised.value)


def test_the_password_is_in_no_text_of_the_settings() -> None:
    options = connection_options(SETTINGS, {KAFKA_PASSWORD: "s3cret"})
    assert options["sasl_plain_password"] == "s3cret"
    assert "s3cret" not in repr(SETTINGS)


@pytest.mark.parametrize(("session", "beat"), [(1, 1 / 3), (6, 2.0), (10, 3.0), (1_800, 3.0)])
def test_a_worker_gives_several_signs_of_life_in_a_session(session: int, beat: float) -> None:
    assert heartbeat_s(KafkaSettings(session_s=session)) == pytest.approx(beat)
