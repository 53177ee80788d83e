"""Peers: what a user would pick instead of this project, measured on the same events.

Own implementations from the published descriptions. To add one, write a module with a class under
:class:`tests.benchmarks.peers.contract.Peer`, a line here, and a test against a published figure or a case
worked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.benchmarks.peers import rates
from tests.benchmarks.peers.contract import Embedder, Peer, Score, Setting
from tests.benchmarks.peers.embeddings import Cached, HashedNgrams
from tests.benchmarks.peers.half_space_trees import HalfSpaceTrees
from tests.benchmarks.peers.mahalanobis import Mahalanobis
from tests.benchmarks.peers.minilm import MiniLM
from tests.benchmarks.peers.mmd import AccountMMD, StreamMMD
from tests.benchmarks.peers.prada import Prada
from tests.benchmarks.peers.seat import Seat

__all__ = ["EMBEDDINGS", "PEERS", "Embedder", "Embedding", "Peer", "Score", "Setting", "setting_with"]


class Embedding(NamedTuple):
    """An embedder that can be chosen by name, and how many texts of an account and day it can afford."""

    make: Callable[[], Embedder]
    texts_per_day: int


EMBEDDINGS: Final[dict[str, Embedding]] = {
    "hashed": Embedding(HashedNgrams, texts_per_day=500),
    "minilm": Embedding(lambda: MiniLM(most=64), texts_per_day=20),
}


def setting_with(embedding: str, reference: Sequence[str]) -> Setting:
    """The setting of an embedding; vectors of the last 200,000 texts are shared by the peers that get it.

    Raises:
        KeyError: there is no embedding of that name.
        FileNotFoundError: it is the sentence model, and that is not installed.
    """
    chosen = EMBEDDINGS[embedding]
    return Setting(Cached(chosen.make(), limit=200_000), reference, chosen.texts_per_day)


PEERS: Final[dict[str, Callable[[Setting], Peer]]] = {
    "mmd_account": AccountMMD,
    "mmd_stream": StreamMMD,
    "prada": Prada,
    "seat": Seat,
    "mahalanobis": Mahalanobis,
    "half_space_trees": lambda setting: HalfSpaceTrees(setting.max_accounts),
    "calls_per_hour_500": lambda setting: rates.calls_per_hour(setting.max_accounts),
    "requests_per_minute_60": lambda setting: rates.requests_per_minute(setting.max_accounts),
}
