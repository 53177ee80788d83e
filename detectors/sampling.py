"""Sampling parameters of a request as one hash of their combination, and what stands out in them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from schemas.events import Params

LOGPROBS: Final = 1
BIAS: Final = 2
MOST_LOGPROBS: Final = 4
MANY: Final = 8

_MOST: Final = 5  # alternatives a token: the most that providers give is 5 to 20
_CHOICES: Final = 8  # answers to one prompt beyond which a product has no use for them


def sampling_of(params: Params) -> tuple[int, int]:
    """The hash of a combination (0 if nothing is set) and a mask of what stands out.

    `seed` is no part of it, and `max_tokens` counts by its power of two: both vary in honest use.

    >>> sampling_of(Params(seed=7, stream=True))
    (0, 0)
    >>> sampling_of(Params(logprobs=True, top_logprobs=20))[1] == LOGPROBS | MOST_LOGPROBS
    True
    """
    bias = params.logit_bias
    use = 0
    if params.logprobs or params.top_logprobs:
        use |= LOGPROBS
    if params.top_logprobs is not None and params.top_logprobs >= _MOST:
        use |= MOST_LOGPROBS
    if params.n is not None and params.n >= _CHOICES:
        use |= MANY
    if bias:
        use |= BIAS
    limit = None if params.max_tokens is None else params.max_tokens.bit_length()
    plain = (params.temperature, params.top_p, limit, params.n, params.logprobs, params.top_logprobs)
    if not bias and plain == _UNSET:
        return 0, 0
    return _hash(plain, tuple(sorted(bias.items())) if bias else ()), use


_UNSET: Final = (None,) * 6


@lru_cache(maxsize=16_384)
def _hash(plain: tuple[object, ...], bias: tuple[tuple[str, float], ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr((plain, bias)).encode(), digest_size=8).digest(), "little") or 1
