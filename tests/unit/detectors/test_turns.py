"""Which assistant turns of a history are read, and by what they are recognised."""

from __future__ import annotations

import random

import pytest

from detectors.turns import assistant_turns, turn_of
from schemas.events import Message, Part
from tests.unit.detectors.traffic import words_of

RNG = random.Random(3)
LONG = words_of(RNG, 60)
OTHER = words_of(RNG, 60)


def user(text: str = "?") -> Message:
    return Message(role="user", content=text)


def told(*content: str | list[Part]) -> list[Message]:
    return [m for one in content for m in (Message(role="assistant", content=one), user())]


@pytest.mark.parametrize(
    ("sent_back", "same"),
    [
        (LONG, (True, True)),
        (f"  {LONG.upper()}\n", (True, True)),
        (LONG.replace(" ", "\n   "), (True, True)),
        (LONG[:300], (True, False)),
        (f"<thinking>{OTHER}</thinking>{LONG}", (False, True)),
        (LONG.replace(LONG[250:280], "…"), (True, True)),
        (OTHER, (False, False)),
    ],
)
def test_a_turn_is_recognised_by_either_end(sent_back: str, same: tuple[bool, bool]) -> None:
    ours, theirs = turn_of(LONG), turn_of(sent_back)
    assert (ours[0] == theirs[0], ours[1] == theirs[1]) == same


def test_a_short_text_is_its_own_head_and_tail() -> None:
    head, tail = turn_of("Short.")
    assert head == tail != 0


def test_parts_of_text_make_a_turn_and_thinking_is_none_of_it() -> None:
    parts = [
        Part(type="thinking", thinking="hm"),
        Part(type="text", text=LONG[:200]),
        Part(type="text", text=LONG[200:]),
    ]
    assert assistant_turns(told(parts), 8, 40) == [turn_of(LONG)]


def test_the_last_ones_count_newest_first() -> None:
    texts = [f"{n} {LONG}" for n in range(5)]
    assert assistant_turns(told(*texts), 3, 40) == [turn_of(text) for text in texts[:1:-1]]


def test_short_turns_say_nothing() -> None:
    assert assistant_turns(told("Yes.", LONG), 8, 40) == [turn_of(LONG)]
    assert assistant_turns(told("Yes.", LONG), 8, 4) == [turn_of(LONG), turn_of("Yes.")]


def test_what_the_model_is_to_continue_is_the_client_s_own() -> None:
    assert assistant_turns([user(), Message(role="assistant", content=LONG)], 8, 40) == []


@pytest.mark.parametrize(
    "output",
    [
        Message(role="tool", content="exit 0"),
        Message(role="user", content=[Part(type="tool_result", id="t1", content="exit 0")]),
    ],
)
def test_a_call_of_a_tool_is_no_answer(output: Message) -> None:
    assert assistant_turns([user(), Message(role="assistant", content=LONG), output, *told(OTHER)], 8, 40) == [
        turn_of(OTHER)
    ]


def test_messages_without_content() -> None:
    assert assistant_turns([user(), Message(role="assistant"), user()], 8, 1) == []
