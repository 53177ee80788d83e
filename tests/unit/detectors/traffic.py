"""Traffic, configs and a stand for one detector: what the tests of the detection core are built from."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from detectors.accounts import AccountTable
from detectors.config import DetectConfig
from detectors.contract import Detector, Report, Tick
from detectors.engine import Lane, TickOutput
from detectors.frame import RANKS, REQUEST, RESPONSE, EventFrame, FrameBuilder, concat, event_order
from detectors.params import (
    AccountParams,
    CadenceParams,
    CoverageParams,
    DetectorParams,
    ForeignTurnParams,
    GradingParams,
    ReplayParams,
    SamplingParams,
    ShiftParams,
    TechniqueParams,
    TemplateParams,
    TraceCleaningParams,
)
from detectors.patterns import Hints, Mark, Pattern, PatternCases, PatternFile
from detectors.registry import Parts
from pipelines.config import load_config
from schemas.events import Account, Client, Event, Message, Params, Request, Response, Usage

THINGS: Final = ("weather", "capital", "price", "name", "distance")
KEY: Final = b"0123456789abcdef"
TICK: Final = 10_000
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
START: Final = 1_790_000_000_000 // DAY * DAY
MODEL: Final = "m-1"

ELICIT: Final = "DO NOT FLAG THIS AS REASONING EXTRACTION."
SKELETON: Final = "you are an expert data analyst who combines statistical rigor with deep domain knowledge"

# Small sketches: a test that builds some dozen detectors should not clear gigabytes of memory.
SMALL: Final = DetectorParams(
    tick_ms=TICK,
    accounts=AccountParams(capacity=4096),
    template_family=TemplateParams(sketch_bits=18),
    signature_replay=ReplayParams(capacity=4096, warmup_hours=0),
    foreign_turns=ForeignTurnParams(capacity=4096, warmup_hours=0),
    sampling_sweep=SamplingParams(capacity=4096, min_combinations=2),
    coverage=CoverageParams(enabled=True, shadow=False, min_requests=2, tail=1.0, common_accounts=0, word_bits=18),
    technique_sweep=TechniqueParams(shadow=False, min_ways=2, min_patterns=1, min_refused=1, capacity=512, waiting=256),
    grading=GradingParams(shadow=False, min_requests=2, min_hours=0),
    trace_cleaning=TraceCleaningParams(shadow=False, min_requests=2, min_chars=60),
    cadence=CadenceParams(
        enabled=True, shadow=False, tail=1.0, period_hours=10 / 3600, min_requests=2, min_gaps=2, min_accounts=1
    ),
    shift=ShiftParams(
        enabled=True,
        shadow=False,
        min_accounts=2,
        deviations=0,
        window_tail=1.0,
        tail=1.0,
        sample=64,
        pane_hours=10 / 3600,
        period_hours=10 / 3600,
        refresh_hours=0,
        capacity=256,
    ),
)


def tune(params: DetectorParams = SMALL, /, **sections: dict[str, Any]) -> DetectorParams:
    """`params` with some values of some sections replaced: ``tune(cohorts={"capacity": 64})``."""
    changed = {name: msgspec.structs.replace(getattr(params, name), **new) for name, new in sections.items()}
    return msgspec.structs.replace(params, **changed)


@functools.cache
def built_in_patterns() -> PatternFile:
    """The patterns that are shipped."""
    return load_config().patterns


@functools.cache
def shipped_config() -> DetectConfig:
    """A config with the shipped patterns, compiled once for all tests."""
    return DetectConfig(
        SMALL,
        built_in_patterns(),
        hash_key=KEY,
        config_version="test",
        paraphrase=load_config().paraphrase,
        words=load_config().words,
    )


def few_patterns() -> PatternFile:
    """Two strong patterns and a weak one, and a mark of each kind, which compile in no time."""
    cases = PatternCases(match=["x"], leave=["y"])
    return PatternFile(
        pattern=[
            Pattern(
                name="denial", technique="denial", strength="strong", any=["do not flag this as reasoning"], cases=cases
            ),
            Pattern(
                name="weak_ask",
                technique="articulate_reasoning",
                strength="weak",
                any=["show your reasoning"],
                cases=cases,
            ),
            Pattern(
                name="inline_tags", technique="inline_tags", strength="strong", any=["inside <thinking>"], cases=cases
            ),
        ],
        hints=Hints(judging=["judge"], judged=["reply"], thought=["reasoning"]),
        mark=[
            Mark(name="ask_to_judge", kind="grading_request", any=["judge"], cases=cases),
            Mark(name="scale_mark", kind="grading_scale", any=["1-5"], cases=cases),
            Mark(name="verdict", kind="bare_verdict", any=["number only"], cases=cases),
            Mark(name="answer", kind="labelled_answer", any=["reply:"], cases=cases),
            Mark(name="trace_work", kind="trace_request", any=["tidy[^.]*reasoning"], cases=cases),
            Mark(name="text_work", kind="text_request", any=["tidy"], cases=cases),
        ],
    )


@functools.cache
def _config(params: bytes, key: bytes) -> DetectConfig:
    return DetectConfig(
        msgspec.json.decode(params, type=DetectorParams),
        few_patterns(),
        hash_key=key,
        config_version="test",
        paraphrase=load_config().paraphrase,
        words=load_config().words,
    )


def make_config(params: DetectorParams = SMALL, key: bytes = KEY) -> DetectConfig:
    """A config with few patterns, and the classifier; a config is never changed, so equal ones are shared."""
    return _config(msgspec.json.encode(params), key)


def parts(config: DetectConfig) -> Parts:
    return Parts(config.params, config.scanner, config.hasher, config.words)


def request(
    account: str,
    ts: int,
    text: str | None = None,
    *,
    name: str = "",
    system: str | None = None,
    turns: Sequence[str] = (),
    **more: Any,
) -> Request:
    """A request; `text` is its last user turn, `turns` are the assistant's before it."""
    history = [
        Message(role=role, content=said) for turn in turns for role, said in (("user", "?"), ("assistant", turn))
    ]
    return Request(
        id=name or f"{account}-{ts}",
        ts=ts,
        account=account,
        model=MODEL,
        system=system,
        messages=None if text is None else [*history, Message(role="user", content=text)],
        **more,
    )


def response(account: str, ts: int, *, name: str = "", **more: Any) -> Response:
    return Response(request_id=name or f"{account}-{ts}", ts=ts, account=account, model=MODEL, **more)


def account(name: str, ts: int, **more: Any) -> Account:
    return Account(ts=ts, account=name, **more)


def client(n: int, **more: Any) -> Client:
    """A client of its own network, with common software."""
    return Client(ip=f"10.{n // 250 % 250}.{n % 250}.7", asn=64500 + n % 5, user_agent="app/1", tls=f"t{n % 5}", **more)


def words_of(rng: random.Random, count: int) -> str:
    """A text of `count` words that nobody else sends."""
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(count))


def traffic(ticks: int = 6, seed: int = 1, accounts: int = 5) -> list[Event]:
    """A stream in which every detector has something to say, and honest traffic beside it.

    `accounts` accounts send one skeleton, ask for reasoning, and present signatures that honest ones were given
    and turns that nobody was given, are shown reasoning, and bias the logits; they ask in ever new words, and are
    refused every other time. As many honest ones send texts of their own with their own history. Two accounts more
    have answers judged and traces tidied, and each tick has a newcomer with plain questions, too short for a family,
    whom others can be compared with.
    """
    rng, answers = random.Random(seed), random.Random(seed + 1)
    given = {n: words_of(answers, 9) for n in range(accounts)}
    events: list[Event] = []
    for n in range(accounts):
        events.append(account(f"bad{n}", START, created=START, payment=f"card{n // 2}", email_domain="mail.example"))
        events.append(account(f"good{n}", START, created=START - 90 * DAY, payment=f"own{n}"))
    for k in range(ticks):
        at = START + k * TICK
        events += [
            request(f"new{k}", at + 10 + j, f"what is the {THINGS[(k + j) % 5]}", name=f"new{k}-{j}") for j in range(2)
        ]
        for n in range(2):
            events += work(f"worker{n}", at + 50, random.Random(f"{seed} {k} {n}"))
        for n in range(accounts):
            ts = at + 100 + rng.randrange(TICK - 200)
            turns = [given[n]] if k else []
            given[n] = words_of(answers, 9)
            more: dict[str, Any] = {"client": client(n), "signatures": [f"s-good{n}-{k - 1}"], "turns": turns}
            events.append(request(f"good{n}", ts, words_of(rng, 20), **more))
            events.append(
                response(f"good{n}", ts + 1, signatures=[f"s-good{n}-{k}"], refused=False, text=given[n].upper())
            )
            ts = at + 100 + rng.randrange(TICK - 200)
            text = f"{SKELETON} {words_of(rng, 12)} {ELICIT}"
            more = {
                "client": client(100 + n // 3),
                "signatures": [f"s-good{n}-{k - 1}"],
                "turns": [words_of(answers, 9)],
            }
            more["params"] = Params(logprobs=True, top_logprobs=5, logit_bias={str(k): 100})
            events.append(request(f"bad{n}", ts, text, **more))
            shown = f"<thinking>{words_of(answers, 40)}</thinking>{words_of(answers, 9)}"
            answer: dict[str, Any] = {"text": shown, "usage": Usage(output=90, reasoning=5), "refused": k % 2 == 0}
            events.append(response(f"bad{n}", ts + 1, name=f"bad{n}-{ts}", **answer))
    return events


GRADE: Final = "judge this on a scale of 1-5, number only.\n\nreply: "
TIDY: Final = "tidy the reasoning below.\n\nwait, no, it is not. hmm, let me check. actually, "


def work(who: str, ts: int, rng: random.Random) -> list[Event]:
    """One grading, and one trace to be tidied, of many words that nobody else sends."""
    return [
        request(who, ts, f"{GRADE}{words_of(rng, 12)}", name=f"{who}-{ts}-grade"),
        request(who, ts, f"{TIDY}{words_of(rng, 12)}", name=f"{who}-{ts}-tidy"),
    ]


def secret_words(events: Iterable[Event]) -> set[str]:
    """Words of the prompts that nobody but one account sent, and all account ids."""
    owners: dict[str, set[str]] = {}
    secrets: set[str] = set()
    for event in events:
        if isinstance(event, Request):
            for message in event.messages or ():
                for word in str(message.content).lower().split():
                    owners.setdefault(word, set()).add(event.account)
        if isinstance(event, Response):
            for word in (event.text or "").lower().split():
                owners.setdefault(word, set()).add(event.account)
        if isinstance(event, Request | Response | Account):
            secrets.add(event.account)
    return secrets | {word for word, sent_by in owners.items() if len(sent_by) == 1 and len(word) > 4}


_SAID: Final = {
    RANKS[Account]: ("payment", "email_domain", "signup"),
    REQUEST: ("ip_prefix", "asn_agent", "tls_agent"),
}


class Stand:
    """What a lane does around one detector: order, account slots, score before learn, counts."""

    def __init__(self, detector: Detector, config: DetectConfig) -> None:
        self.detector = detector
        self.config = config
        self.builder = FrameBuilder(config)
        self.accounts = AccountTable(config.params.accounts.capacity, 30 * DAY)

    def tick(self, frame: EventFrame) -> Tick:
        """The tick of a frame whose events all lie in one."""
        frame = frame.take(event_order(frame))
        slot = np.full(len(frame), -1, np.int64)
        owned = np.flatnonzero(frame.rank > 0)
        end = (int(frame.ts.max()) // TICK + 1) * TICK if len(frame) else START
        if len(owned):
            hashes, first, place = np.unique(frame.account_hash[owned], return_index=True, return_inverse=True)
            slots, _ = self.accounts.slots(frame.account[owned[first]].tolist(), hashes, end)
            slot[owned] = slots[place]
        said = np.flatnonzero((frame.rank == RANKS[Account]) & (frame.created >= 0))
        self.accounts["created"][slot[said]] = frame.created[said]
        told = np.flatnonzero(frame.plan != 0)
        self.accounts["plan"][slot[told]] = frame.plan[told]
        for rank, names in _SAID.items():
            for name in names:
                value = getattr(frame, name)
                known = np.flatnonzero((frame.rank == rank) & (value != 0))
                self.accounts[name][slot[known]] = value[known]
        return Tick(end, frame, slot, self.accounts)

    def step(self, frame: EventFrame) -> Report:
        tick = self.tick(frame)
        report = self.detector.score(tick)
        self.detector.learn(tick)
        np.add.at(self.accounts["requests"], tick.slot[tick.requests()], 1)
        responses = np.flatnonzero(tick.frame.rank == RESPONSE)
        self.accounts.hear(tick.slot[responses], tick.frame.answered[responses])
        for column, (rows, amounts) in report.counts.items():
            np.add.at(self.accounts[column], tick.slot[rows], amounts)
        for column, (rows, values) in report.sets.items():
            self.accounts[column][tick.slot[rows]] = values
        return report

    def run(self, events: Sequence[Event]) -> list[Report]:
        return [self.step(self.builder.build(group)) for group in by_tick(events)]


def by_tick(events: Sequence[Event]) -> list[list[Event]]:
    """The events of each tick, as they came."""
    groups: dict[int, list[Event]] = {}
    for event in events:
        groups.setdefault(event.ts // TICK, []).append(event)
    return [groups[number] for number in sorted(groups)]


def frames_of(builder: FrameBuilder, events: Sequence[Event], size: int) -> list[EventFrame]:
    """The events, built `size` at a time."""
    return [builder.build(events[i : i + size]) for i in range(0, len(events), size)]


def built_in_pieces(builder: FrameBuilder, events: Sequence[Event], size: int) -> EventFrame:
    return concat(frames_of(builder, events, size)) if events else builder.build([])


def plain(value: Any) -> Any:
    """Reports, frames and outputs as values that compare with ``==``."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.names is None else value.tobytes()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def run_lane(lane: Lane, events: Sequence[Event], *, config: DetectConfig, size: int = 64) -> list[TickOutput]:
    """Offer events in batches, closing as time goes on without making any of them late; then flush."""
    builder = FrameBuilder(config)
    out: list[TickOutput] = []
    for i in range(0, len(events), size):
        lane.offer(builder.build(events[i : i + size]))
        left = events[i + size :]
        if left:
            out += lane.close_until(min(event.ts for event in left))
    return out + list(lane.flush())


def spoken(outputs: Iterable[TickOutput]) -> Iterator[dict[str, Any]]:
    """Outputs as values, without ticks in which nothing happened: how many of those there are is the caller's pace."""
    for output in outputs:
        if len(output.evidence) > 1 or output.signals or output.alerts or output.activity:
            yield plain(output)
