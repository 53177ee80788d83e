"""Held-out test set: requests that try to elicit a model's hidden reasoning, and earnest ones that only look alike."""

from tests.benchmarks.elicitation.loading import Item, load_earnest, load_positives

__all__ = ["Item", "load_earnest", "load_positives"]
