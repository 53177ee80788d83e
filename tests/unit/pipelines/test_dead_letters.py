"""Dead letters: what is kept, how it is shown, where it is sent back to."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.dead_letters import (
    HEADERS,
    PROCESSING_FAILED,
    FileDeadLetters,
    Selection,
    Stored,
    TopicDeadLetters,
    describe,
    from_record,
    plan_send_back,
    read_file,
    remedy,
    send_back,
    summarise,
    to_headers,
    write_back,
)
from pipelines.errors import UsageError
from pipelines.safe_text import safe_bytes, safe_line
from schemas.deadletters import DeadLetter
from schemas.errors import REASONS


def letter(**changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "reason": "not_json",
        "detail": "JSON is malformed",
        "source": "llm.requests",
        "partition": 3,
        "offset": 0,
        "ts": 1_784_887_200_123,
        "raw": b'{"type":',
        "key": b"a1",
    }
    return DeadLetter(**{**fields, **changes})


class Sent:
    """Records what was sent and whether it was waited for."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes | None, list[tuple[str, bytes]]]] = []
        self.flushed = 0

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        self.records.append((topic, value, key, list(headers)))

    def flush(self) -> None:
        self.flushed = len(self.records)


letters = st.builds(
    DeadLetter,
    reason=st.sampled_from(sorted(REASONS)),
    detail=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    source=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    partition=st.none() | st.integers(0, 100),
    offset=st.integers(0, 2**62),
    ts=st.integers(0, 2**50),
    raw=st.binary(max_size=40),
    key=st.none() | st.binary(max_size=8),
)


@given(letters)
def test_a_kafka_record_gives_the_letter_back(one: DeadLetter) -> None:
    headers = to_headers(one)
    assert tuple(name for name, _ in headers) == HEADERS
    assert from_record(one.key, one.raw, headers) == one


def test_foreign_or_damaged_headers_are_unknowns_not_errors() -> None:
    one = from_record(None, None, [("dw-offset", b"-5"), ("dw-ts", b"\xff"), ("other", b"x"), ("dw-source", None)])
    assert (one.reason, one.offset, one.ts, one.partition, one.raw) == ("unknown", 0, 0, None, b"")


def test_a_letter_on_kafka_is_the_message_itself() -> None:
    sent = Sent()
    topic = TopicDeadLetters(sent, "dead-letters")
    topic.put(letter())
    topic.flush()
    assert [(name, value, key) for name, value, key, _ in sent.records] == [("dead-letters", b'{"type":', b"a1")]
    assert dict(sent.records[0][3])["dw-offset"] == b"0"
    assert (topic.count, sent.flushed) == (1, 1)


@given(st.lists(letters, max_size=5))
def test_a_file_gives_its_letters_back(tmp_path_factory: pytest.TempPathFactory, many: list[DeadLetter]) -> None:
    path = tmp_path_factory.mktemp("letters") / "deep" / "rejected.jsonl"
    with FileDeadLetters(path) as file:
        for one in many:
            file.put(one)
        file.flush()
        assert file.count == len(many)
    assert [stored.letter for stored in read_file(path)] == many
    assert [stored.place for stored in read_file(path)] == list(range(1, len(many) + 1))


def test_a_line_of_the_file_is_plain_json_with_base64(tmp_path: Path) -> None:
    with FileDeadLetters(tmp_path / "r.jsonl") as file:
        file.put(letter(raw=b"\x00\xff"))
    fields = json.loads((tmp_path / "r.jsonl").read_text())
    assert base64.b64decode(fields["raw"]) == b"\x00\xff"
    assert fields["offset"] == 0


def test_without_a_path_letters_are_only_counted() -> None:
    with FileDeadLetters(None) as file:
        file.put(letter())
        file.flush()
    assert file.count == 1


def test_a_file_is_there_when_nothing_was_rejected(tmp_path: Path) -> None:
    with FileDeadLetters(tmp_path / "r.jsonl"):
        pass
    assert (tmp_path / "r.jsonl").read_bytes() == b""


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write dead letters"), FileDeadLetters(tmp_path / "file" / "r.jsonl"):
        pass


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with FileDeadLetters(path) as file:
        file.put(letter())
    with path.open("a") as lines:
        lines.write("\nnot a letter\n")
    with pytest.raises(UsageError, match=r"r\.jsonl:3: not a dead letter"):
        list(read_file(path))


def test_every_reason_has_a_remedy() -> None:
    for reason in (*REASONS, PROCESSING_FAILED):
        assert remedy(reason) != remedy("unheard of")
    assert remedy("too_deep") == REASONS["too_deep"]


def stored(*many: DeadLetter) -> list[Stored]:
    return [Stored(place, one) for place, one in enumerate(many)]


def test_selections_combine() -> None:
    many = stored(letter(), letter(reason="empty"), letter(reason="empty", source="llm.accounts"))
    assert [one.place for one in many if Selection().takes(one)] == [0, 1, 2]
    assert [one.place for one in many if Selection(reason="empty").takes(one)] == [1, 2]
    assert [one.place for one in many if Selection(reason="empty", source="llm.accounts").takes(one)] == [2]
    assert [one.place for one in many if Selection(places=frozenset({0})).takes(one)] == [0]


def test_a_summary_counts_all_and_keeps_the_newest() -> None:
    summary = summarise(stored(letter(), letter(reason="empty"), letter(reason="empty")), newest=2)
    assert summary.total == 3
    assert list(summary.by_reason.items()) == [("empty", 2), ("not_json", 1)]
    assert [one.place for one in summary.newest] == [2, 1]


@given(st.binary(max_size=80))
def test_shown_bytes_hold_no_control_character(raw: bytes) -> None:
    shown = safe_bytes(raw)
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert bytes.fromhex("".join(row[10:57] for row in shown.split("\n"))) == raw


def test_long_messages_are_cut_and_say_so() -> None:
    assert safe_bytes(bytes(1_000), 16).endswith("984 more bytes")
    assert safe_line("x" * 300).endswith("x…")


def test_a_description_is_safe_for_a_terminal_and_names_the_remedy() -> None:
    text = describe(Stored(7, letter(source="bad\x1b[2J", key=b"\x1b\xff", detail="line\nline")))
    assert "\x1b" not in text
    assert REASONS["not_json"] in text
    assert "offset 0" in text
    assert "letter    7" in text


def test_messages_go_back_where_they_came_from() -> None:
    sent = Sent()
    many = stored(letter(), letter(source="llm.accounts", raw=b"x", key=None))
    assert plan_send_back(many, to=None) == {"llm.requests": 1, "llm.accounts": 1}
    assert sent.records == []
    assert send_back(many, sent, to=None) == {"llm.requests": 1, "llm.accounts": 1}
    assert sent.records == [("llm.requests", b'{"type":', b"a1", []), ("llm.accounts", b"x", None, [])]
    assert sent.flushed == 2


def test_messages_of_a_file_need_a_topic_to_go_to() -> None:
    many = stored(letter(source="events.jsonl", partition=None))
    with pytest.raises(UsageError, match="--to-topic"):
        plan_send_back(many, to=None)
    assert plan_send_back(many, to="llm.requests") == {"llm.requests": 1}


def test_messages_are_written_to_a_new_file_only(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    assert write_back(stored(letter(), letter(raw=b"{}")), path) == 2
    assert path.read_bytes() == b'{"type":\n{}\n'
    with pytest.raises(UsageError, match="exists"):
        write_back(stored(letter()), path)
    with pytest.raises(UsageError, match="line end"):
        write_back(stored(letter(), letter(raw=b"a\nb")), tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    path = tmp_path / "rejected.jsonl"
    with FileDeadLetters(path) as file:
        file.put(letter(source="events.jsonl", partition=None, ts=0))
        file.put(letter(source="events.jsonl", partition=None, ts=0, reason="empty", raw=b""))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["dead-letters", *arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_list_shows_counts_remedies_and_the_newest(rejected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--file", str(rejected))
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "2 dead letters"
    assert any(line.split()[:2] == ["1", "empty"] and REASONS["empty"] in line for line in lines)
    assert lines[-2].split()[0] == "2"
    assert "in a replay" in lines[-1]


def test_show_prints_one_and_refuses_what_is_not_there(rejected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "1", "--file", str(rejected))
    assert code == 0
    assert '|{"type":|' in out
    code, _, err = run(capsys, "show", "9", "--file", str(rejected))
    assert code == 2
    assert "no letter 9" in err


def test_send_back_only_says_what_it_would_do_until_told(
    rejected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.jsonl"
    arguments = ("send-back", "--file", str(rejected), "--reason", "not_json", "--output", str(again))
    code, out, _ = run(capsys, *arguments)
    assert (code, out) == (0, f"1 message would be written to {again}; say --yes to do it\n")
    assert not again.exists()
    code, out, _ = run(capsys, *arguments, "--yes")
    assert (code, out) == (0, f"1 message written to {again}\n")
    assert again.read_bytes() == b'{"type":\n'


def test_contradictions_are_refused(rejected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "list", "--file", str(rejected), "--bootstrap", "127.0.0.1:1")
    assert (code, "not both" in err) == (2, True)
    code, _, err = run(capsys, "send-back", "--file", str(rejected), "--to-topic", "t", "--output", "o")
    assert (code, "not both" in err) == (2, True)
    code, _, err = run(capsys, "list", "--file", str(rejected.with_name("absent")))
    assert (code, "cannot read" in err) == (2, True)


def test_an_empty_file_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.jsonl").write_bytes(b"")
    for command in ("list", "send-back"):
        code, out, _ = run(capsys, command, "--file", str(tmp_path / "r.jsonl"))
        assert (code, out) == (0, "no dead letters\n")
