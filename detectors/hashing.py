"""Hashes: fast 64-bit mixing for sketches, and keyed hashes for whatever leaves the worker."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def mix(values: U64) -> U64:
    """Scatter 64-bit values (the splitmix64 finaliser: Steele, Lea and Flood, OOPSLA 2014).

    Args:
        values: any shape.

    Returns:
        The same shape; a bijection, so distinct values stay distinct.
    """
    z = values + _GOLDEN
    z ^= z >> np.uint64(30)
    z *= _M1
    z ^= z >> np.uint64(27)
    z *= _M2
    z ^= z >> np.uint64(31)
    return z


def combine(left: U64, right: U64) -> U64:
    """An order-dependent hash of pairs; the arguments broadcast."""
    return mix(mix(left) ^ right)


class KeyedHasher:
    """64-bit BLAKE2b hashes under a secret key: what evidence shows instead of an identifier.

    Values seen again come from a bounded cache, so the cost falls on new values only. 0 is never
    returned: columns use it for "absent".

    Args:
        key: 16 to 64 secret bytes; hashes under different keys cannot be compared.

    >>> h = KeyedHasher(b"0123456789abcdef")
    >>> h("payment", "card-1") == h("payment", "card-1") != h("mail", "card-1")
    True
    """

    def __init__(self, key: bytes, cache: int = 131_072) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"the hash key must have 16 to 64 bytes, not {len(key)}")
        self._key = key
        self._cached = lru_cache(maxsize=cache)(self._hash)

    def __call__(self, kind: str, value: str) -> int:
        return self._cached(kind, value)

    def show(self, kind: str, value: int) -> str:
        """The printable form of an internal hash: 16 hex digits, keyed, per kind."""
        return f"{self._cached(kind, format(value, 'x')):016x}"

    def _hash(self, kind: str, value: str) -> int:
        # `surrogatepass` is not needed: the decoder refuses lone surrogates.
        digest = hashlib.blake2b(value.encode(), digest_size=8, key=self._key, person=kind.encode()[:16])
        return int.from_bytes(digest.digest(), "little") or 1


def hash_strings(values: list[str]) -> U64:
    """Unkeyed 64-bit hashes of strings, for placement in sketches; shape (len(values),)."""
    out = np.empty(len(values), dtype=np.uint64)
    for i, value in enumerate(values):
        out[i] = hash_string(value)
    return out


@lru_cache(maxsize=262_144)
def hash_string(value: str) -> int:
    """One of :func:`hash_strings`."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little") or 1
