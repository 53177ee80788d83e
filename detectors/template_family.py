"""Template families: one skeleton sent by many accounts, with slots that vary.

A shingle counts by the distinct accounts that carry it. The shingles of a text that several accounts
carry are its *shared* part, the rest is its *variant*. The least hash among the shared shingles names the
family, so that all carriers of one skeleton name the same (MinHash; Broder, 1997). Where a text shares
two skeletons of different reach, say a framework's prompt over thousands of accounts and a campaign's over
a hundred, each gives a family of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.contract import I64, Carrier, Report, Tick, Touches, no_findings
from detectors.frame import EventFrame
from detectors.hashing import U64, combine, mix
from detectors.params import FeatureParams, TemplateParams
from detectors.sketches import AccountCounter
from detectors.text import Ragged, normalise, shingles, words

KIND: Final = "template"

_MIN_SHARED: Final = 3  # shared shingles: seven words in a row; fewer are turns of phrase
_LEVELS: Final = 4  # a skeleton of under a quarter of the reach of the text's widest one stands apart
_SIGNATURE: Final = 16  # least shared shingles that a family is recognised by
_OVERLAP: Final = 0.5  # of the signature, in a member
_FAMILIES: Final = 16_384
_RECENT: Final = 2**17  # shingles of recent requests kept, to find a family's first carriers
_LARGEST: Final = np.uint64(2**64 - 1)
_NO_VARIANT: Final = np.uint64(0)


class _Shared(NamedTuple):
    """Texts with a shared part: `text` (m,), family `key` (m,), `variant` (m,), `signature` rows (m,)."""

    text: I64
    key: U64
    variant: U64
    signature: Ragged


class TemplateFamily:
    """Finds template families over the accounts of one lane."""

    name: ClassVar[str] = "template_family"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: TemplateParams, features: FeatureParams) -> None:
        self._params = params
        self._features = features
        self._counter = AccountCounter(params.sketch_bits, int(params.pane_hours * 3_600_000))
        self._families: OrderedDict[int, U64] = OrderedDict()
        self._recent = _Recent(_RECENT)

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        signatures = sum(signature.nbytes for signature in self._families.values())
        return self._counter.nbytes + signatures + self._recent.nbytes

    def score(self, tick: Tick) -> Report:
        """Which requests carry which family. Families are evidence of a cohort, never of a request."""
        frame = tick.frame
        shared = self._shared(frame.shingles)
        rows, keys, variants, signatures = [], [], [], []
        # Content identity of the user's turn: what varies under a system prompt that does not.
        identity = _text_identity(frame.shingles)
        requests = tick.requests()
        for codes, other in ((frame.text_code, None), (frame.system_code, frame.text_code)):
            code = codes[requests]
            for level in shared:
                place = np.full(len(frame.texts) + 1, -1, np.int64)
                place[level.text] = np.arange(len(level.text))
                found = place[code]
                hit = np.flatnonzero(found >= 0)
                rows.append(requests[hit])
                keys.append(level.key[found[hit]])
                variant = level.variant[found[hit]]
                if other is not None:
                    variant = combine(variant, np.append(identity, _NO_VARIANT)[other[requests[hit]]])
                variants.append(variant)
                signatures.append(level.signature.take(found[hit]))
        row, key, variant = np.concatenate(rows), np.concatenate(keys), np.concatenate(variants)
        values = np.concatenate([s.values for s in signatures])
        lengths = np.concatenate([s.lengths for s in signatures])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        order = np.lexsort((row, key))
        kept, first_of = self._recognised(key[order], Ragged(values, offsets).take(order))
        chosen = order[kept]
        carriers = {}
        for position, signature in first_of:
            found_before = self._recent.carriers(signature, _OVERLAP)
            if found_before:
                carriers[int(key[order[position]])] = found_before
        touches = Touches(KIND, row[chosen], key[chosen], variant[chosen], carriers)
        return Report(no_findings(), [touches], {})

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        for key, signature in self._new_families(tick):
            self._families[key] = signature
            if len(self._families) > _FAMILIES:
                self._families.popitem(last=False)
        self._counter.turn(tick.end)
        requests = tick.requests()
        self._recent.add(frame, requests)
        code = np.concatenate([frame.text_code[requests], frame.system_code[requests]])
        who = np.concatenate([frame.account_hash[requests]] * 2)
        known = np.flatnonzero(code >= 0)
        if not len(known):
            return
        # One account that repeats a text counts its shingles once, so most system prompts cost nothing.
        _, once = np.unique(combine(mix(code[known].astype(np.uint64)), who[known]), return_index=True)
        picked = known[once]
        texts = frame.shingles.take(code[picked])
        self._counter.add(texts.values, np.repeat(who[picked], texts.lengths))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        """The text with everything that too few accounts share replaced by `⟨…⟩`."""
        frame = tick.frame
        signature = self._families.get(key)
        for code in (int(frame.text_code[row]), int(frame.system_code[row])):
            if code < 0:
                continue
            present = frame.shingles.take(np.array([code])).values
            if signature is None or np.isin(signature, present).mean() >= _OVERLAP:
                return self._skeleton(frame.texts[code])
        return None

    def _skeleton(self, text: str) -> str:
        found = words([normalise(text, self._features.max_chars)])
        width = self._features.shingle_words
        hashes = shingles(found.hashes, width, len(found.starts)).values
        counts = self._counter.counts(hashes)
        # A word is shown only if many accounts sent it, and if it belongs to the family's core.
        reach = max(self._params.min_accounts, int(counts.max(initial=0)) // _LEVELS)
        shared = np.flatnonzero(counts >= reach)
        covered = np.zeros(len(found.starts), np.bool_)
        for k in range(width):
            covered[shared + k] = True
        pieces: list[str] = []
        for covers, start, end in zip(covered, found.starts, found.ends, strict=True):
            if covers:
                pieces.append(found.data[start:end].decode(errors="replace"))
            elif not pieces or pieces[-1] != "⟨…⟩":
                pieces.append("⟨…⟩")
        return " ".join(pieces)[:1000]

    def _shared(self, texts: Ragged) -> list[_Shared]:
        """The families of each distinct text: one of wide reach, and one of narrower reach beside it."""
        if not len(texts.values):
            return [_Shared(np.empty(0, np.int64), *[np.empty(0, np.uint64)] * 2, texts.take(np.empty(0, np.int64)))]
        counts = self._counter.counts(texts.values)
        owner = texts.row_ids()
        frequent = counts >= self._params.min_accounts
        widest = np.zeros(texts.rows, np.int64)
        np.maximum.at(widest, owner[frequent], counts[frequent])
        wide = frequent & (counts * _LEVELS >= widest[owner])
        variant = np.full(texts.rows, _LARGEST)
        np.minimum.at(variant, owner[~frequent], texts.values[~frequent])
        variant[variant == _LARGEST] = _NO_VARIANT
        levels = []
        for level in (wide, frequent & ~wide):
            enough = np.bincount(owner[level], minlength=texts.rows) >= _MIN_SHARED
            of = level & enough[owner]
            signature = _least(texts.values[of], owner[of], _SIGNATURE)
            text = np.flatnonzero(enough)
            levels.append(_Shared(text, signature.values[signature.offsets[:-1]], variant[text], signature))
        return levels

    def _recognised(self, keys: U64, signatures: Ragged) -> tuple[I64, list[tuple[int, U64]]]:
        """Of sorted touches, those that carry enough of their family's signature, and each new family."""
        kept: list[I64] = []
        new: list[tuple[int, U64]] = []
        bounds = np.flatnonzero(np.diff(keys, prepend=~keys[:1], append=~keys[-1:]))
        for start, end in zip(bounds[:-1], bounds[1:], strict=True):
            family = self._families.get(int(keys[start]))
            block = signatures.take(np.arange(start, end))
            if family is None:
                family = block.take(np.array([0])).values
                new.append((int(start), family))
            inside = np.isin(block.values, family).astype(np.int64)
            overlap = np.add.reduceat(inside, block.offsets[:-1])
            kept.append(start + np.flatnonzero(overlap >= _OVERLAP * np.minimum(len(family), block.lengths)))
        return (np.concatenate(kept) if kept else np.empty(0, np.int64)), new

    def _new_families(self, tick: Tick) -> list[tuple[int, U64]]:
        new: dict[int, U64] = {}
        for level in self._shared(tick.frame.shingles):
            for i, key in enumerate(level.key.tolist()):
                if key not in self._families and key not in new:
                    new[key] = level.signature.take(np.array([i])).values
        return list(new.items())

    def snapshot(self) -> bytes:
        families = [(key, signature.tolist()) for key, signature in self._families.items()]
        return msgspec.msgpack.encode((self._counter.snapshot(), families, self._recent.snapshot()))

    def restore(self, data: bytes) -> None:
        counter, families, recent = msgspec.msgpack.decode(
            data, type=tuple[bytes, list[tuple[int, list[int]]], list[_Batch]]
        )
        self._counter.restore(counter)
        self._families = OrderedDict((key, np.array(signature, np.uint64)) for key, signature in families)
        self._recent.restore(recent)


class _Batch(msgspec.Struct, array_like=True):
    values: list[int]
    lengths: list[int]
    carriers: list[tuple[str, int, int, int]]


class _Recent:
    """Shingles of the latest requests, bounded by their number: the oldest ticks go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: list[Ragged] = []
        self._carriers: list[list[tuple[str, int, int, int]]] = []
        self._held = 0
        self._joined: tuple[Ragged, list[tuple[str, int, int, int]]] | None = None

    @property
    def nbytes(self) -> int:
        return sum(part.values.nbytes + part.offsets.nbytes for part in self._values)

    def add(self, frame: EventFrame, requests: I64) -> None:
        code = frame.text_code[requests]
        code = np.where(code >= 0, code, frame.system_code[requests])
        chosen = requests[code >= 0]
        if not len(chosen):
            return
        self._append(
            frame.shingles.take(code[code >= 0]),
            list(
                zip(
                    frame.account[chosen].tolist(),
                    frame.ts[chosen].tolist(),
                    frame.strong[chosen].tolist(),
                    frame.weak[chosen].tolist(),
                    strict=True,
                )
            ),
        )

    def _append(self, values: Ragged, carriers: list[tuple[str, int, int, int]]) -> None:
        self._values.append(values)
        self._carriers.append(carriers)
        self._held += len(values.values) + values.rows
        self._joined = None
        while self._held > self._limit and len(self._values) > 1:
            gone = self._values.pop(0)
            self._carriers.pop(0)
            self._held -= len(gone.values) + gone.rows

    def carriers(self, signature: U64, overlap: float) -> list[Carrier]:
        """Earlier requests that carry at least the given share of a signature."""
        if not self._values:
            return []
        if self._joined is None:
            lengths = np.concatenate([part.lengths for part in self._values])
            values = np.concatenate([part.values for part in self._values])
            joined = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
            self._joined = joined, [carrier for part in self._carriers for carrier in part]
        texts, who = self._joined
        inside = np.isin(texts.values, signature)
        hits = np.bincount(texts.row_ids()[inside], minlength=texts.rows)
        found = np.flatnonzero(hits >= max(overlap * len(signature), 1))
        return [Carrier(*who[i], variant=0) for i in found.tolist()]

    def snapshot(self) -> list[_Batch]:
        return [
            _Batch(part.values.tolist(), part.lengths.tolist(), carriers)
            for part, carriers in zip(self._values, self._carriers, strict=True)
        ]

    def restore(self, batches: list[_Batch]) -> None:
        self._values, self._carriers, self._held, self._joined = [], [], 0, None
        for batch in batches:
            offsets = np.concatenate([[0], np.cumsum(np.array(batch.lengths, np.int64))])
            self._append(Ragged(np.array(batch.values, np.uint64), offsets), batch.carriers)


def _least(values: U64, owner: NDArray[np.int64], k: int) -> Ragged:
    """The k least values of each owner, ascending, as rows in the order of the owners that occur."""
    order = np.lexsort((values, owner))
    values, owner = values[order], owner[order]
    repeated = np.zeros(len(values), np.bool_)
    repeated[1:] = (values[1:] == values[:-1]) & (owner[1:] == owner[:-1])
    values, owner = values[~repeated], owner[~repeated]
    _, first, counts = np.unique(owner, return_index=True, return_counts=True)
    place = np.arange(len(values)) - np.repeat(first, counts)
    kept = place < k
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return Ragged(values[kept], offsets)


def _text_identity(texts: Ragged) -> U64:
    """One hash for the content of each text, from its shingles; 0 for a text without any."""
    out = np.zeros(texts.rows, np.uint64)
    np.add.at(out, texts.row_ids(), mix(texts.values))
    return out
