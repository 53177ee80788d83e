"""What the compared methods read of a simulation's events, decoded once and kept as columns.

Decoding 2.3 million JSON lines ten times over takes longer than most of the methods. A table of codes is read
five times as fast, and a text that comes back is one string: it is hashed, embedded and scored once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.frame import split_text
from schemas.events import Account, Client, Event, Message, Request, Response, Usage

_BLOCK: Final = 65_536
_ABSENT: Final = -1
_ACCOUNT, _REQUEST, _RESPONSE = range(3)
_CODED: Final = ("account", "model", "text", "ip", "agent")
_NUMBERS: Final = {"ts": "q", "refused": "b", "output": "q", "reasoning": "q", "created": "q"}


class Writer:
    """Takes events in, and writes their columns to a file when they are through."""

    def __init__(self) -> None:
        self._kinds = array("b")
        self._codes = {name: array("i") for name in _CODED}
        self._known: dict[str, dict[str, int]] = {name: {} for name in _CODED}
        self._numbers = {name: array(code) for name, code in _NUMBERS.items()}

    def tap(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, noted as they pass."""
        for event in events:
            self.add(event)
            yield event

    def add(self, event: Event) -> None:
        """Note an event; bans and releases are of no use to any compared method."""
        if isinstance(event, Request):
            client = event.client
            ip, agent = (None, None) if client is None else (client.ip, client.user_agent)
            self._put(_REQUEST, event.ts, (event.account, event.model, split_text(event)[1] or None, ip, agent))
        elif isinstance(event, Response):
            usage = event.usage
            spent = (usage.output, usage.reasoning) if usage is not None else (None, None)
            refused = None if event.refused is None else int(event.refused)
            self._put(_RESPONSE, event.ts, (event.account, event.model, None, None, None), (refused, *spent, None))
        elif isinstance(event, Account):
            numbers = (None, None, None, event.created)
            self._put(_ACCOUNT, event.ts, (event.account, None, None, None, None), numbers)

    def _put(
        self,
        kind: int,
        ts: int,
        texts: tuple[str | None, ...],
        numbers: tuple[int | None, ...] = (None, None, None, None),
    ) -> None:
        self._kinds.append(kind)
        for name, text in zip(_CODED, texts, strict=True):
            known = self._known[name]
            self._codes[name].append(_ABSENT if text is None else known.setdefault(text, len(known)))
        for name, number in zip(_NUMBERS, (ts, *numbers), strict=True):
            self._numbers[name].append(_ABSENT if number is None else number)

    def save(self, path: Path) -> None:
        """Write an Arrow file."""
        columns = {"kind": pa.array(np.frombuffer(self._kinds, np.int8))}
        for name, codes in self._codes.items():
            rows = np.frombuffer(codes, np.int32)
            # Lone surrogates cannot be in what was decoded from UTF-8.
            words = pa.array(list(self._known[name]), pa.large_string())
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(rows, mask=rows < 0), words)
        for name, code in _NUMBERS.items():
            columns[name] = pa.array(np.frombuffer(self._numbers[name], np.dtype(code)))
        table = pa.table(columns)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)


class Columns:
    """Events from a file of a :class:`Writer`, as often as wanted.

    They are whole in what the compared methods read, and lack the rest: of a request's texts only what the user
    said last is left, and there are no ids, bans or releases.
    """

    def __init__(self, path: Path) -> None:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file) as reader:
            table = reader.read_all().combine_chunks()
        self._kinds = table["kind"].to_numpy()
        self._codes: dict[str, np.ndarray] = {}
        self._words: dict[str, list[str]] = {}
        for name in _CODED:
            column = table[name].chunk(0) if table.num_rows else pa.array([], pa.string()).dictionary_encode()
            self._codes[name] = column.indices.fill_null(_ABSENT).to_numpy(zero_copy_only=False)
            self._words[name] = column.dictionary.to_pylist()
        self._numbers = {name: table[name].to_numpy() for name in _NUMBERS}
        self._said: list[list[Message] | None] = [[Message(role="user", content=text)] for text in self._words["text"]]

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Event]:
        accounts, models, said = self._words["account"], self._words["model"], [*self._said, None]
        ips, agents = [*self._words["ip"], None], [*self._words["agent"], None]  # code -1 is the None at the end
        clients: dict[tuple[int, int], Client | None] = {(_ABSENT, _ABSENT): None}
        for start in range(0, len(self), _BLOCK):
            part = slice(start, start + _BLOCK)
            codes = (self._codes[name][part].tolist() for name in _CODED)
            numbers = (self._numbers[name][part].tolist() for name in _NUMBERS)
            for kind, account, model, text, ip, agent, ts, refused, output, reasoning, created in zip(
                self._kinds[part].tolist(), *codes, *numbers, strict=True
            ):
                if kind == _REQUEST:
                    client = clients.get((ip, agent), _UNSEEN)
                    if client is _UNSEEN:
                        client = clients[ip, agent] = Client(ip=ips[ip], user_agent=agents[agent])
                    yield Request(
                        id="-",
                        ts=ts,
                        account=accounts[account],
                        model=models[model],
                        messages=said[text],
                        client=client,
                    )
                elif kind == _RESPONSE:
                    usage = None
                    if output >= 0 or reasoning >= 0:
                        usage = Usage(output=_known(output), reasoning=_known(reasoning))
                    yield Response(
                        request_id="-",
                        ts=ts,
                        account=accounts[account],
                        model=models[model],
                        refused=None if refused < 0 else bool(refused),
                        usage=usage,
                    )
                else:
                    yield Account(ts=ts, account=accounts[account], created=_known(created))


_UNSEEN: Final = Client()


def _known(number: int) -> int | None:
    return None if number < 0 else number


def gathered(events: Iterable[Event], path: Path) -> Columns:
    """The events' columns, by way of a file."""
    writer = Writer()
    for event in events:
        writer.add(event)
    writer.save(path)
    return Columns(path)
