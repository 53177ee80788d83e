"""The whole stream on a broker with TLS, users and ACLs: the rights of `infra/kafka/acls.toml`, and no more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from infra.kafka.acls import grant, plan_rights
from infra.kafka.broker import Broker, BrokerUnavailable
from infra.kafka.security import Authority, BrokerSecurity
from infra.topics import create_topics
from pipelines.alert_sources import TopicAlerts
from pipelines.dead_letters import read_topic
from pipelines.errors import UsageError
from pipelines.kafka_io import DeliveryFailure, make_consumer, make_producer, produce_events
from pipelines.secrets import KAFKA_PASSWORD
from pipelines.settings import KafkaSettings
from schemas.events import Release
from tests.conftest import Endpoint, Topics, no_kafka
from tests.integration.stream_rig import Stream
from tests.integration.stream_traffic import traffic

pytestmark = pytest.mark.integration

ROLES = ("producer", "detect", "correlate", "sink", "reader", "letters", "setup")
# A worker, the right it does not have, and what it has to say.
LACKS: list[tuple[str, tuple[str, str, str], str]] = [
    ("detect", ("topic", "evidence", "Write"), "no topic evidence"),
    ("detect", ("group", "{group}-detect", "Read"), "GroupAuthorizationFailedError"),
    ("detect", ("transactional-id", "{group}-detect-", "Write"), "TransactionalIdAuthorizationFailedError"),
    ("correlate", ("group", "{group}-correlate", "Read"), "GroupAuthorizationFailedError"),
    ("sink", ("topic", "signals", "Read"), "no topic signals"),
]
USERS = (*ROLES, *(f"lacks-{number}" for number in range(len(LACKS))), "nobody")


_PATIENCE_S = 200


class Secure:
    """A broker with TLS, SCRAM and ACLs, and the users of :data:`USERS`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        passwords = {name: f"secret-of-{name}" for name in ("admin", *USERS)}
        self.security = BrokerSecurity(Authority.make(folder / "authority"), passwords)
        self.broker = Broker(folder / "broker", security=self.security)

    def start(self) -> None:
        self.broker.start()
        with self.admin() as admin:
            grant(admin, plan_rights(group="w"), {role: role for role in ROLES})
            for number, (role, (kind, name, operation), _) in enumerate(LACKS):
                group = f"lacks{number}.w"
                lack = (kind, name.replace("{group}", group), operation)
                rights = [one for one in plan_rights(group=group) if one.role == role]
                left = [one for one in rights if (one.kind, one.name, one.operation) != lack]
                assert len(left) == len(rights) - 1
                grant(admin, left, {role: f"lacks-{number}"})
        self.names = create_topics(self.broker.bootstrap, client_options=self.security.client_options("setup"))

    @contextlib.contextmanager
    def admin(self) -> Iterator[Any]:
        options = self.security.client_options("admin")
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.broker.bootstrap, **options)) as admin:
            yield admin

    def keys(self, user: str, **other: str) -> dict[str, str]:
        """The keys of `pipeline.toml` for a user."""
        certificate, key = self.security.client_files()
        keys = {
            "security_protocol": "SASL_SSL",
            "sasl_username": user,
            "ssl_cafile": str(self.security.authority.cafile),
        }
        return keys | {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)} | other

    def settings(self, user: str, **other: str) -> KafkaSettings:
        return KafkaSettings(bootstrap=self.broker.bootstrap, **self.keys(user, **other))  # type: ignore[arg-type]

    def stream(self, folder: Path, user: str, *, prefix: str = "", password: str | None = None, **other: str) -> Stream:
        """A deployment whose workers run as a user."""
        folder.mkdir()
        lines = "\n".join(f'{key} = "{value}"' for key, value in self.keys(user, **other).items())
        environment = {KAFKA_PASSWORD: self.password(user) if password is None else password}
        topics = Topics(self.broker.bootstrap, prefix, self.names)
        reader = self.security.client_options("admin")
        return Stream(topics, folder, kafka=lines, environment=environment, client=reader)

    def password(self, user: str) -> str:
        return self.security.passwords[user]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    try:
        one = Secure(tmp_path_factory.mktemp("secure"))
        one.start()
    except BrokerUnavailable as error:
        no_kafka(str(error))
    yield one
    one.broker.stop()


def test_every_role_does_its_work_with_its_rights(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_endpoint: Callable[..., Endpoint]
) -> None:
    endpoint = make_endpoint()
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("producer"))
    produce_events(secure.broker.bootstrap, secure.names, traffic(hours=2), settings=secure.settings("producer"))
    bad = make_producer(secure.settings("producer"))
    bad.send(secure.names["requests"], b"not json")
    bad.close()
    logs = []
    for role, options in {"detect": (), "correlate": (), "sink": ("--clickhouse", endpoint.dsn)}.items():
        stream = secure.stream(tmp_path / role, role)
        stream.once(role, *options)
        logs.append(stream.logs(role))
    assert "level=error" not in "".join(logs)
    assert "secret-of" not in "".join(logs)
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("reader"))
    with contextlib.closing(TopicAlerts(secure.settings("reader"))) as alerts:
        said = {alert.alert_id for alert in alerts.poll() if alert.kind == "campaign"}
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("letters"))
    with contextlib.closing(make_consumer(secure.settings("letters"), group=None, poll_records=10)) as consumer:
        [letter] = read_topic(consumer, secure.names["dead_letters"])
    assert letter.letter.raw == b"not json"
    stored = endpoint.client().query("SELECT DISTINCT alert_id FROM alerts WHERE kind = 'campaign'").result_rows
    assert said
    assert {alert_id for (alert_id,) in stored} == said


def test_a_worker_without_one_of_its_rights_ends_and_says_which(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("producer"))
    settings = secure.settings("producer")
    produce_events(secure.broker.bootstrap, secure.names, traffic(everyday=4, harvesters=0), settings=settings)
    with contextlib.ExitStack() as stack:
        runs = []
        for number, (role, _, words) in enumerate(LACKS):
            stream = secure.stream(tmp_path / str(number), f"lacks-{number}", prefix=f"lacks{number}.")
            options = ("--clickhouse", "http://127.0.0.1:9/default") if role == "sink" else ()
            runs.append((role, words, stream, stack.enter_context(stream.running(role, "--once", *options))))
        for role, words, stream, worker in runs:
            assert worker.wait(_PATIENCE_S) == 1, stream.logs(role)
            last = stream.logs(role).strip().splitlines()[-1]
            assert words in last
            assert "docs/operator.md" in last
            assert "secret-of" not in stream.logs(role)


def test_a_producer_without_a_right_is_told(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("reader"))
    with pytest.raises(DeliveryFailure, match="AuthorizationFailed"):
        produce_events(
            secure.broker.bootstrap, secure.names, [Release(ts=1, model="m")], settings=secure.settings("reader")
        )


def test_wrong_passwords_and_strange_certificates_end_a_worker_at_once(secure: Secure, tmp_path: Path) -> None:
    stranger = Authority.make(tmp_path / "stranger")
    certificate, key = stranger.sign("client")
    foreign = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    cases: list[tuple[str, Stream, str]] = [
        ("detect", secure.stream(tmp_path / "0", "detect", password="another"), "refuses the user detect"),
        ("correlate", secure.stream(tmp_path / "1", "correlate", ssl_cafile=str(stranger.cafile)), "is not trusted"),
        ("sink", secure.stream(tmp_path / "2", "sink", **foreign), "TLS with Kafka at"),
    ]
    with contextlib.ExitStack() as stack:
        runs = [(*case, stack.enter_context(case[1].running(case[0], "--once"))) for case in cases]
        for role, stream, words, worker in runs:
            assert worker.wait(_PATIENCE_S) == 1, stream.logs(role)
            assert words in stream.logs(role).strip().splitlines()[-1]
            assert "another" not in stream.logs(role)
            assert "secret-of" not in stream.logs(role)
            assert "Traceback" not in stream.logs(role)


def test_who_has_no_rights_sees_nothing(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA_PASSWORD, secure.password("nobody"))
    with contextlib.closing(make_consumer(secure.settings("nobody"), group=None, poll_records=1)) as consumer:
        assert consumer.topics() == set()
    with (
        contextlib.closing(TopicAlerts(secure.settings("nobody"))) as alerts,
        pytest.raises(UsageError, match="no right to read it"),
    ):
        alerts.poll()
