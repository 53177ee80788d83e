"""What a detect worker's core is made from: parameters, patterns and the hash key, compiled once."""

from __future__ import annotations

from detectors.hashing import KeyedHasher
from detectors.params import DetectorParams
from detectors.paraphrase import Paraphrase
from detectors.pattern_scan import Classifier, PatternScanner
from detectors.patterns import PatternFile
from detectors.shift_points import WordPoints


class DetectConfig:
    """Parameters with what is compiled from them; shared by all lanes of a process, never changed.

    Args:
        params: `detectors.toml`.
        patterns: `patterns.toml`.
        hash_key: secret of the keyed hashes, 16 to 64 bytes.
        config_version: goes into every alert.
        paraphrase: the weights of the paraphrase classifier; without them it is off.
        words: the word vectors of the shift detector; without them it is blind.

    Raises:
        ValueError: a pattern that does not compile, weights or vectors that are none, or a key of a wrong length.
    """

    def __init__(
        self,
        params: DetectorParams,
        patterns: PatternFile,
        *,
        hash_key: bytes,
        config_version: str,
        paraphrase: bytes | None = None,
        words: bytes | None = None,
    ) -> None:
        self.params = params
        self.config_version = config_version
        classifier = None
        if paraphrase is not None and params.elicitation.paraphrase.enabled:
            classifier = Classifier(Paraphrase(paraphrase), params.elicitation.paraphrase)
        marks = params.grading.enabled or params.trace_cleaning.enabled
        self.scanner = PatternScanner(patterns, classifier, marks=marks)
        self.words = WordPoints(words) if words is not None and params.shift.enabled else None
        self.hasher = KeyedHasher(hash_key)
