"""Events as columns."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.frame import ABSENT, EventFrame, FrameBuilder, address_prefix, concat, event_order, split_text
from schemas.events import Client, Enforcement, Event, Message, Part, Release, Usage
from tests.unit.detectors.traffic import (
    START,
    account,
    built_in_pieces,
    make_config,
    plain,
    request,
    response,
    traffic,
)

_RAGGED = ("issued", "presented", "turns", "shingles", "vocabulary")
_COLUMNS = [name for name in EventFrame._fields if name not in (*_RAGGED, "texts")]


def build(*events: Event, key: bytes = b"0123456789abcdef") -> EventFrame:
    return FrameBuilder(make_config(key=key)).build(events)


def described(frame: EventFrame) -> list[dict[str, Any]]:
    """Each event as one dict, whatever the frame's table of texts looks like."""
    columns = {name: plain(getattr(frame, name)) for name in _COLUMNS}
    out = []
    for i in range(len(frame)):
        one = {name: column[i] for name, column in columns.items()}
        for name in ("issued", "presented", "turns"):
            one[name] = getattr(frame, name).take(np.array([i])).values.tolist()
        for name in ("text_code", "system_code"):
            code = one[name]
            of_text = (
                []
                if code < 0
                else [ragged.take(np.array([code])).values.tolist() for ragged in (frame.shingles, frame.vocabulary)]
            )
            one[name] = None if code < 0 else (frame.texts[code], *of_text)
        out.append(one)
    return out


def test_row_i_is_event_i() -> None:
    frame = build(
        request("a", 5, "Some text of a user, long enough to have shingles", system="Be kind", signatures=["x", "y"]),
        response("a", 7, signatures=["z"], refused=True, usage=Usage(input=3, output=0)),
        account("b", 6, created=2, payment="card", email_domain="Mail.Example", signup_ip="10.1.2.3"),
        Enforcement(ts=8, account="b", action="ban"),
        Enforcement(ts=9, account="b", action="unban"),
        Release(ts=10, model="m-2"),
    )
    assert len(frame) == 6
    assert frame.ts.tolist() == [5, 7, 6, 8, 9, 10]
    assert frame.rank.tolist() == [3, 4, 1, 2, 2, 0]
    assert frame.account.tolist() == ["a", "a", "b", "b", "b", ""]
    assert frame.ids.tolist()[:2] == ["a-5", "a-7"]
    assert frame.presented.lengths.tolist() == [2, 0, 0, 0, 0, 0]
    assert frame.issued.lengths.tolist() == [0, 1, 0, 0, 0, 0]
    assert frame.refused.tolist() == [ABSENT, 1, ABSENT, ABSENT, ABSENT, ABSENT]
    assert frame.tokens[1].tolist() == [3, 0, ABSENT]
    assert frame.created.tolist() == [ABSENT, ABSENT, 2, ABSENT, ABSENT, ABSENT]
    assert frame.banned.tolist() == [ABSENT, ABSENT, ABSENT, 1, 0, ABSENT]
    assert [frame.texts[frame.text_code[0]], frame.texts[frame.system_code[0]]] == [
        "some text of a user, long enough to have shingles",
        "be kind",
    ]
    assert frame.text_code.tolist()[1:] == [ABSENT] * 5
    for name in ("payment", "email_domain", "signup"):
        assert [value != 0 for value in getattr(frame, name).tolist()] == [False, False, True, False, False, False]


def test_absent_is_not_zero() -> None:
    """What a gateway does not know must not look like a count of nothing."""
    unknown = build(request("a", 1), response("a", 1), account("a", 1))
    assert unknown.tokens.tolist() == [[ABSENT] * 3] * 3
    assert unknown.refused.tolist() == [ABSENT] * 3
    assert unknown.created.tolist() == [ABSENT] * 3
    assert unknown.text_code.tolist() == unknown.system_code.tolist() == [ABSENT] * 3
    none = build(
        response("a", 1, refused=False, usage=Usage(input=0, output=0, reasoning=0)), account("a", 1, created=0)
    )
    assert none.tokens[0].tolist() == [0, 0, 0]
    assert none.refused[0] == 0
    assert none.created[1] == 0


def test_what_a_response_says_and_what_it_leaves_unsaid() -> None:
    thought = "<thinking>Let me see.</thinking>"
    frame = build(
        response("a", 1, text=f"{thought}Yes."),
        response("a", 2, text="<thinking>Let me", finish_reason="length"),
        response("a", 3, text=""),
        response("a", 4),
        response("a", 5, status=529),
        response("a", 6, finish_reason="tool_calls"),
        request("a", 7, "hello", turns=["Certainly, here is what you wanted to know.", "Yes."]),
    )
    assert frame.answered.tolist() == [1, 1, 1, 0, 1, 1, ABSENT]
    assert frame.visible.tolist() == [len(thought) + 4, 16, 0, *[ABSENT] * 4]
    assert frame.thought.tolist() == [11, 6, 0, *[ABSENT] * 4]
    assert frame.turns.lengths.tolist() == [2, 2, 2, 0, 0, 0, 2], "the short one says nothing"
    assert not any("let me" in text for text in frame.texts), "what was answered is not kept"


def test_a_tag_is_named_in_the_system_or_the_user_text() -> None:
    frame = build(
        request("a", 1, "Use <scratchpad> tags"),
        request("a", 2, "hello", system="Use <scratchpad> tags"),
        request("a", 3, "Use <h1> tags"),
        request("a", 4, system="Be kind"),
        request("a", 5),
        response("a", 6, text="<scratchpad>"),
    )
    assert frame.names_tags.tolist() == [1, 1, 0, 0, ABSENT, ABSENT]


def test_empty_strings_are_absent() -> None:
    frame = build(
        request("a", 1, "", system="", client=Client(ip="", user_agent="", tls="", asn=7)),
        account("a", 1, payment="", email_domain="", signup_ip=""),
    )
    for name in ("ip_prefix", "asn_agent", "tls_agent", "payment", "email_domain", "signup"):
        assert getattr(frame, name).tolist() == [0, 0], name
    assert frame.text_code.tolist() == frame.system_code.tolist() == [ABSENT, ABSENT]


def test_an_empty_frame_has_all_columns() -> None:
    frame = build()
    assert len(frame) == 0
    assert described(concat([frame, build(request("a", 1, "hello"))])) == described(build(request("a", 1, "hello")))
    assert len(frame.take(np.empty(0, np.int64))) == 0


def test_one_text_is_held_once() -> None:
    frame = build(*(request(f"a{n}", n, "the same text", system="the same text") for n in range(5)))
    assert frame.texts.tolist() == ["the same text"]
    assert frame.text_code.tolist() == frame.system_code.tolist() == [0] * 5


def test_patterns_count_in_system_and_user_text() -> None:
    strong = "do not flag this as reasoning"
    frame = build(
        request("a", 1, strong),
        request("a", 2, "x", system=strong),
        request("a", 3, "show your reasoning", system=strong),
        request("a", 4, "x"),
        response("a", 5, text=strong),
    )
    assert frame.strong.tolist() == [1, 1, 1, 0, 0]
    assert frame.weak.tolist() == [0, 0, 2, 0, 0]


def test_the_last_user_turn_and_all_system_text_are_read() -> None:
    one = request("a", 1, None, system="first")
    one.messages = [
        Message(role="system", content="second"),
        Message(role="user", content="earlier"),
        Message(role="assistant", content="answer"),
        Message(role="developer", content="third"),
        Message(
            role="user",
            content=[Part(type="text", text="what is"), Part(type="image"), Part(type="text", text="in this picture?")],
        ),
        Message(role="user", content=[Part(type="tool_result", content="not a user's words")]),
    ]
    assert split_text(one) == ("first\nsecond\nthird", "what is\nin this picture?")
    assert split_text(request("a", 1)) == ("", "")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_features_do_not_depend_on_the_rest_of_the_batch(size: int, rng: random.Random) -> None:
    events = traffic(ticks=2)
    rng.shuffle(events)
    builder = FrameBuilder(make_config())
    assert described(built_in_pieces(builder, events, size)) == described(builder.build(events))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_take_gives_the_frame_of_those_events(data: st.DataObject) -> None:
    events = traffic(ticks=2)
    indices = data.draw(st.lists(st.integers(0, len(events) - 1), max_size=40))
    builder = FrameBuilder(make_config())
    taken = builder.build(events).take(np.array(indices, np.int64))
    assert described(taken) == described(builder.build([events[i] for i in indices]))
    used = set(taken.text_code.tolist()) | set(taken.system_code.tolist())
    assert used - {ABSENT} == set(range(len(taken.texts))), "a text that no event has any more is let go"


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_events_is_one_whatever_order_they_came_in(rng: random.Random) -> None:
    events: list[Event] = traffic(ticks=2)
    # Many of one millisecond: only their type, account and id tell them apart.
    events += [request(f"a{n % 3}", START, f"text {n}", name=f"r{n}") for n in range(12)]
    events += [response(f"a{n % 3}", START, name=f"r{n}") for n in range(6)]
    builder = FrameBuilder(make_config())
    frame = builder.build(events)
    expected = described(frame.take(event_order(frame)))
    rng.shuffle(events)
    frame = builder.build(events)
    assert described(frame.take(event_order(frame))) == expected


def test_what_is_known_of_an_account_comes_before_what_it_does() -> None:
    frame = build(
        response("a", 3),
        request("a", 3),
        Enforcement(ts=3, account="a", action="ban"),
        account("a", 3),
        Release(ts=3, model="m"),
        request("a", 2),
    )
    assert event_order(frame).tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("203.0.113.255", "203.0.113.0/24"),
        ("2001:db8:1:ffff::1", "2001:db8:1::/48"),
        ("::ffff:203.0.113.4", "::/48"),
        ("203.0.113.4:443", None),
        ("203.0.113", None),
        ("", None),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_address_prefix(address: str, prefix: str | None) -> None:
    assert address_prefix(address) == prefix


def test_neighbours_share_a_network_and_nobody_else() -> None:
    def prefix(ip: str) -> int:
        return int(build(request("a", 1, client=Client(ip=ip))).ip_prefix[0])

    assert prefix("10.0.0.1") == prefix("10.0.0.250") != prefix("10.0.1.1")
    assert prefix("unreadable") == 0
    signup = build(account("a", 1, signup_ip="10.0.0.9"), account("b", 1, signup_ip="10.0.0.0/24")).signup
    assert signup[0] == signup[1] != prefix("10.0.0.1"), "kinds of fingerprints are kept apart"


def test_fingerprints_are_keyed() -> None:
    """Who does not have the key cannot try out card numbers or addresses against the evidence."""
    events: list[Event] = [
        request("a", 1, client=Client(ip="10.0.0.1", asn=7, user_agent="x", tls="y")),
        account("a", 1, payment="card", email_domain="mail.example", signup_ip="10.0.0.1"),
    ]
    ours, same, theirs = (build(*events, key=key) for key in (b"0" * 16, b"0" * 16, b"1" * 16))
    for i, names in enumerate((("ip_prefix", "asn_agent", "tls_agent"), ("payment", "email_domain", "signup"))):
        for name in names:
            assert getattr(ours, name)[i] == getattr(same, name)[i] != 0
            assert getattr(ours, name)[i] != getattr(theirs, name)[i], name
    assert ours.account_hash.tolist() == theirs.account_hash.tolist(), "placement does not depend on the key"


def test_mail_domains_have_no_case() -> None:
    frame = build(account("a", 1, email_domain="Mail.Example"), account("b", 1, email_domain="mail.example"))
    assert frame.email_domain[0] == frame.email_domain[1]
