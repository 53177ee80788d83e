"""Figures that others published, to stand beside ours: never measured here, on other prompts than ours.

Recomputed from the scores published with arXiv 2606.05725 (14 attack sets; percent of windows found, by percent
of attacker queries in the window; `fpr` in percent of held-out benign windows).
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = "arXiv 2606.05725, 14 attack sets; overlapping benign windows, no accounts, times or templates"

WINDOWS_OF_1500: Final[dict[str, dict[str, float]]] = {
    "mmd": {"fpr": 0.3, "5": 59.0, "10": 93.7, "25": 100, "50": 100, "100": 100},
    "mahalanobis": {"fpr": 14.2, "5": 70.5, "10": 83.2, "25": 91.9, "50": 99.0, "100": 100},
    "seat": {"fpr": 13.6, "5": 31.7, "10": 64.5, "25": 93.2, "50": 97.9, "100": 100},
    "date": {"fpr": 12.5, "5": 39.7, "10": 56.7, "25": 86.1, "50": 95.0, "100": 99.3},
    "prada": {"fpr": 7.3, "5": 18.9, "10": 25.4, "25": 58.2, "50": 66.3, "100": 77.8},
}
MMD_BY_WINDOW: Final[dict[str, dict[str, float]]] = {
    "100": {"5": 1.3, "10": 4.6, "25": 76},
    "200": {"5": 1.6, "10": 27, "25": 87},
    "500": {"5": 15, "10": 80, "25": 99.6},
    "1000": {"5": 45, "10": 87, "25": 100},
}


def published() -> dict[str, object]:
    """All of it, for the report."""
    return {"source": SOURCE, "unit": "percent", "windows_of_1500": WINDOWS_OF_1500, "mmd_by_window": MMD_BY_WINDOW}
