"""Peers: what a user would pick instead of this project, measured on the same events.

Own implementations from the published descriptions. To add one, write a module with a class under
:class:`tests.benchmarks.peers.contract.Peer`, a line here, and a test against a published figure or a case
worked by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.benchmarks.peers import rates
from tests.benchmarks.peers.contract import Embedder, Peer, Score, Setting
from tests.benchmarks.peers.half_space_trees import HalfSpaceTrees
from tests.benchmarks.peers.mahalanobis import Mahalanobis
from tests.benchmarks.peers.mmd import AccountMMD, StreamMMD
from tests.benchmarks.peers.prada import Prada
from tests.benchmarks.peers.seat import Seat

__all__ = ["PEERS", "Embedder", "Peer", "Score", "Setting"]

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
