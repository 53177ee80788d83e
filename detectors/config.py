"""What a detect worker's core is made from: parameters, patterns and the hash key, compiled once."""

from __future__ import annotations

from detectors.hashing import KeyedHasher
from detectors.params import DetectorParams
from detectors.pattern_scan import PatternScanner
from detectors.patterns import PatternFile


class DetectConfig:
    """Parameters with what is compiled from them; shared by all lanes of a process, never changed.

    Args:
        params: `detectors.toml`.
        patterns: `patterns.toml`.
        hash_key: secret of the keyed hashes, 16 to 64 bytes.
        config_version: goes into every alert.

    Raises:
        ValueError: a pattern that does not compile, or a key of a wrong length.
    """

    def __init__(self, params: DetectorParams, patterns: PatternFile, *, hash_key: bytes, config_version: str) -> None:
        self.params = params
        self.config_version = config_version
        self.scanner = PatternScanner(patterns)
        self.hasher = KeyedHasher(hash_key)
