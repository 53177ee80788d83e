"""What a detect worker's core is made from: parameters, patterns and the hash key, compiled once."""

from __future__ import annotations

from detectors.hashing import KeyedHasher
from detectors.params import DetectorParams
from detectors.paraphrase import Paraphrase
from detectors.pattern_scan import Classifier, PatternScanner
from detectors.patterns import PatternFile


class DetectConfig:
    """Parameters with what is compiled from them; shared by all lanes of a process, never changed.

    Args:
        params: `detectors.toml`.
        patterns: `patterns.toml`.
        hash_key: secret of the keyed hashes, 16 to 64 bytes.
        config_version: goes into every alert.
        paraphrase: the weights of the paraphrase classifier; without them it is off.

    Raises:
        ValueError: a pattern that does not compile, weights that are none, or a key of a wrong length.
    """

    def __init__(
        self,
        params: DetectorParams,
        patterns: PatternFile,
        *,
        hash_key: bytes,
        config_version: str,
        paraphrase: bytes | None = None,
    ) -> None:
        self.params = params
        self.config_version = config_version
        classifier = None
        if paraphrase is not None and params.elicitation.paraphrase.enabled:
            classifier = Classifier(Paraphrase(paraphrase), params.elicitation.paraphrase)
        marks = params.grading.enabled or params.trace_cleaning.enabled
        self.scanner = PatternScanner(patterns, classifier, marks=marks)
        self.hasher = KeyedHasher(hash_key)
