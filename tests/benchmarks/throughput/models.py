"""What others would score each event with, written as their documentation does."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

Score = Callable[[Mapping[str, Any]], float]

_WINDOW_MS: Final = 60_000


def rule_60() -> Score:
    """Requests of an account in the last 60 s, as a rule over 60 of them counts (khan5v/dr_platform)."""
    times: dict[str, deque[int]] = defaultdict(deque)

    def score(event: Mapping[str, Any]) -> float:
        seen = times[event["account"]]
        if event["type"] == "request":
            seen.append(event["ts"])
        while seen and seen[0] <= event["ts"] - _WINDOW_MS:
            seen.popleft()
        return len(seen) / 60

    return score


def river_text() -> Score:
    """A bag of words and a logistic regression of river; it learns from what the rule says."""
    from river import feature_extraction, linear_model

    model = feature_extraction.BagOfWords() | linear_model.LogisticRegression()
    rule = rule_60()

    def score(event: Mapping[str, Any]) -> float:
        text = event["messages"][0]["content"] if event["type"] == "request" else event.get("text") or ""
        probability = model.predict_proba_one(text).get(True, 0.0)
        model.learn_one(text, rule(event) > 1)
        return float(probability)

    return score


def river_trees() -> Score:
    """Half-space trees of river over four numbers of an event."""
    from river import anomaly, preprocessing

    model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)
    rule = rule_60()

    def score(event: Mapping[str, Any]) -> float:
        usage = event.get("usage") or {}
        text = event["messages"][0]["content"] if event["type"] == "request" else event.get("text") or ""
        numbers = {"chars": len(text), "rate": rule(event), "in": usage.get("input", 0), "out": usage.get("output", 0)}
        result = model.score_one(numbers)
        model.learn_one(numbers)
        return float(result)

    return score


MODELS: Final[dict[str, Callable[[], Score]]] = {
    "rule_60": rule_60,
    "river_text": river_text,
    "river_trees": river_trees,
}
