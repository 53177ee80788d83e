"""Template families: one skeleton sent by many accounts, with slots that vary.

A shingle counts by the distinct accounts that carry it. The shingles of a text that several accounts
carry are its *shared* part, the rest is its *variant*. The least hash among the shared shingles names the
family, so that all carriers of one skeleton name the same (MinHash; Broder, 1997). Where a text shares
two skeletons of different reach, say a framework's prompt over thousands of accounts and a campaign's over
a hundred, each gives a family of its own.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import Blocked, Blocks, Part, under, within
from detectors.contract import I64, Report, Tick, Touches, no_findings, no_touches
from detectors.family_index import FamilyIndex
from detectors.frame import EventFrame
from detectors.hashing import U64, combine, mix
from detectors.params import FeatureParams, TemplateParams
from detectors.recent_texts import RecentTexts
from detectors.sketches import AccountCounter
from detectors.text import Ragged, normalise, shingles, words

KIND: Final = "template"

_MIN_SHARED: Final = 3  # shared shingles: seven words in a row; fewer are turns of phrase
_LEVELS: Final = 4  # a skeleton of under a quarter of the reach of the text's widest one stands apart
_SIGNATURE: Final = 16  # least shared shingles that a family is recognised by
_OVERLAP: Final = 0.5  # of the signature, in a member
_PER_TEXT: Final = 2  # families of one text and level
_FAMILIES: Final = 16_384
_RECENT: Final = 2**17  # shingles of recent requests kept, to find a family's first carriers


class _Families(NamedTuple):
    """Which texts carry which families: pairs (m,), and signatures of families not known before."""

    text: I64
    key: U64
    new: dict[int, U64]


class TemplateFamily(Blocked):
    """Finds template families over the accounts of one lane."""

    name: ClassVar[str] = "template_family"
    needs: ClassVar[frozenset[str]] = frozenset({"request.text"})

    def __init__(self, params: TemplateParams, features: FeatureParams) -> None:
        self._params = params
        self._features = features
        self._counter = AccountCounter(params.sketch_bits, int(params.pane_hours * 3_600_000))
        self._families = FamilyIndex(_FAMILIES, _OVERLAP)
        self._recent = RecentTexts(_RECENT, _OVERLAP)
        self._memo: tuple[EventFrame, _Families] | None = None  # what `score` found, for `learn`

    @property
    def ready(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self._counter.nbytes + self._families.nbytes + self._recent.nbytes

    def score(self, tick: Tick) -> Report:
        """Which requests carry which family. Families are evidence of a cohort, never of a request."""
        frame = tick.frame
        requests = tick.requests()
        if not _with_text(frame, requests).any():
            return Report(no_findings(), [no_touches(KIND)], {})
        found = self._families_of(frame)
        rows, keys = [], []
        start = np.searchsorted(found.text, np.arange(len(frame.texts) + 1))
        for column in (frame.text_code, frame.system_code):
            owned = requests[column[requests] >= 0]
            code = column[owned]
            count = start[code + 1] - start[code]
            where = np.repeat(start[code] - np.cumsum(count) + count, count) + np.arange(count.sum())
            rows.append(np.repeat(owned, count))
            keys.append(found.key[where])
        row, key = np.concatenate(rows), np.concatenate(keys)
        # What varies is the user's turn, also under a system prompt that does not.
        identity = _text_identity(frame.shingles)
        turn = np.where(frame.text_code >= 0, frame.text_code, frame.system_code)
        touches = Touches(KIND, row, key, identity[turn[row]], self._recent.carriers(found.new))
        return Report(no_findings(), [touches], {})

    def learn(self, tick: Tick) -> None:
        frame = tick.frame
        requests = tick.requests()
        if _with_text(frame, requests).any():
            for key, signature in self._families_of(frame).new.items():
                self._families.add(key, signature)
        self._memo = None
        self._counter.turn(tick.end)
        self._remember(frame, requests)
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

    def _remember(self, frame: EventFrame, requests: I64) -> None:
        code = frame.text_code[requests]
        code = np.where(code >= 0, code, frame.system_code[requests])
        chosen = requests[code >= 0]
        texts = frame.shingles.take(code[code >= 0])
        columns = (frame.account, frame.ts, frame.strong, frame.weak)
        who = zip(*(column[chosen].tolist() for column in columns), _text_identity(texts).tolist(), strict=True)
        self._recent.add(texts, list(who))

    def skeleton(self, tick: Tick, row: int, key: int) -> str | None:
        """The text with everything that too few accounts share replaced by `⟨…⟩`."""
        frame = tick.frame
        signature = self._families.signature(key)
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
        all_of_it = shingles(found, width, len(found.starts))
        counts = self._counter.counts(all_of_it.hashes.values)
        # A word is shown only if many accounts sent it, and if it belongs to the family's core.
        reach = max(self._params.min_accounts, int(counts.max(initial=0)) // _LEVELS)
        shared = all_of_it.place[counts >= reach]
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

    def _families_of(self, frame: EventFrame) -> _Families:
        if self._memo is None or self._memo[0] is not frame:
            self._memo = frame, self._find(frame.shingles)
        return self._memo[1]

    def _find(self, texts: Ragged) -> _Families:
        """The families of each distinct text: of wide reach, and of narrower reach beside it."""
        counts = self._counter.counts(texts.values)
        frequent = np.flatnonzero(counts >= self._params.min_accounts)
        if len(frequent) < _MIN_SHARED:
            return _Families(np.empty(0, np.int64), np.empty(0, np.uint64), {})
        values, owner = texts.values[frequent], texts.row_ids()[frequent]
        # A phrase that a text repeats is one phrase.
        order = np.lexsort((values, owner))
        once = np.ones(len(order), np.bool_)
        once[1:] = (values[order][1:] != values[order][:-1]) | (owner[order][1:] != owner[order][:-1])
        kept = order[once]
        values, owner, counts = values[kept], owner[kept], counts[frequent][kept]
        widest = np.zeros(texts.rows, np.int64)
        np.maximum.at(widest, owner, counts)
        wide = counts * _LEVELS >= widest[owner]
        found_text, found_key = [], []
        new: dict[int, U64] = {}
        for level in (wide, ~wide):
            enough = np.bincount(owner[level], minlength=texts.rows) >= _MIN_SHARED
            of = level & enough[owner]
            if not of.any():
                continue
            text, key = self._families.match(values[of], owner[of], _PER_TEXT)
            found_text.append(text)
            found_key.append(key)
            # A text that belongs to no known family founds one, together with others of its kind.
            alone = of & ~np.isin(owner, text)
            signatures = _least(values[alone], owner[alone], _SIGNATURE)
            for i, row in enumerate(np.unique(owner[alone]).tolist()):
                signature = signatures.take(np.array([i])).values
                name = self._name(signature, new)
                if name is not None:
                    new.setdefault(name, signature)
                    found_text.append(np.array([row]))
                    found_key.append(np.array([name], np.uint64))
        if not found_text:
            return _Families(np.empty(0, np.int64), np.empty(0, np.uint64), {})
        text, key = np.concatenate(found_text), np.concatenate(found_key)
        order = np.lexsort((key, text))
        return _Families(text[order], key[order], new)

    def _name(self, signature: U64, new: dict[int, U64]) -> int | None:
        """The new family that a signature belongs to, or else its least shingle that names no family yet."""
        for name, other in new.items():
            if np.isin(other, signature).mean() >= _OVERLAP:
                return name
        free = (name for name in signature.tolist() if name not in new and name not in self._families)
        return next(free, None)

    def parts(self) -> dict[str, Part]:
        return {
            **within("counter", self._counter.parts()),
            **within("families", self._families.parts()),
            **within("recent", self._recent.parts()),
        }

    def restore_parts(self, parts: Blocks) -> None:
        self._counter.restore_parts(under("counter", parts))
        self._families.restore_parts(under("families", parts))
        self._recent.restore_parts(under("recent", parts))
        self._memo = None


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


def _with_text(frame: EventFrame, requests: I64) -> NDArray[np.bool_]:
    return np.asarray((frame.text_code[requests] >= 0) | (frame.system_code[requests] >= 0))


def _text_identity(texts: Ragged) -> U64:
    """One hash for the content of each text, from its shingles; 0 for a text without any."""
    out = np.zeros(texts.rows, np.uint64)
    np.add.at(out, texts.row_ids(), mix(texts.values))
    return out
