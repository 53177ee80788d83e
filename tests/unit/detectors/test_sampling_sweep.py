"""Sweeps over sampling parameters, and honest uses of the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectors.contract import Report
from detectors.engine import FrameBuilder, Lane
from detectors.sampling import BIAS, LOGPROBS, MANY, MOST_LOGPROBS, sampling_of
from detectors.sampling_sweep import SamplingSweep
from schemas.events import Params
from tests.unit.detectors.traffic import START, TICK, Stand, make_config, request, tune

Setting = Callable[[int], Params]


def stand(**params: Any) -> Stand:
    config = make_config(tune(sampling_sweep={"min_combinations": 20, **params}))
    return Stand(SamplingSweep(config.params.sampling_sweep, config.hasher), config)


def run(one: Stand, setting: Setting, count: int = 200, who: str = "a", per_tick: int = 10) -> list[Report]:
    """`count` requests, the k-th with `setting(k)`."""
    reports = []
    for first in range(0, count, per_tick):
        at = START + first // per_tick * TICK
        events = [request(who, at + k, "the same prompt", params=setting(first + k)) for k in range(per_tick)]
        reports.append(one.step(one.builder.build(events)))
    return reports


def swept(reports: list[Report]) -> int:
    """Requests that count against the account."""
    return sum(len(report.counts["swept"][0]) for report in reports if "swept" in report.counts)


def logits(k: int) -> Params:
    """Another set of tokens lifted into the log-probabilities with each request."""
    return Params(logprobs=True, top_logprobs=20, logit_bias={str(4 * k + i): 100.0 for i in range(4)}, max_tokens=1)


class TestSweeps:
    def test_logit_extraction(self) -> None:
        reports = run(stand(), logits)
        assert swept(reports) == 190, "all but what the ticks before the twentieth combination brought"
        assert float(reports[-1].findings.score.max()) == 0.9
        evidence = reports[-1].findings.evidence[-1]
        assert evidence | {"combination": ""} == {
            "combination": "",
            "account_combinations": 200,
            "account_requests": 200,
            "account_biased_logprobs": 200,
            "logit_bias": True,
            "logprobs": True,
            "most_logprobs": True,
            "many_choices": False,
            "accounts_like_it": pytest.approx(0.001, abs=0.02),
        }

    def test_a_grid_that_reads_log_probabilities(self) -> None:
        reports = run(stand(), lambda k: Params(logprobs=True, top_logprobs=5, temperature=k / 50))
        assert swept(reports) > 100
        assert float(reports[-1].findings.score.max()) == 0.6

    def test_many_answers_to_one_prompt_at_every_temperature(self) -> None:
        assert swept(run(stand(), lambda k: Params(n=16, temperature=k / 50))) > 100


class TestLookAlikes:
    @pytest.mark.parametrize(
        "setting",
        [
            pytest.param(lambda k: Params(logprobs=True, top_logprobs=5, temperature=0.0), id="a product's confidence"),
            pytest.param(lambda k: Params(logprobs=True, temperature=0.0, seed=k), id="a harness with a seed each"),
            pytest.param(lambda k: Params(temperature=0.2 if k % 2 else 0.9), id="an A/B test"),
            pytest.param(lambda k: Params(logit_bias={"11": -100.0}, temperature=0.0), id="one token forbidden"),
            pytest.param(lambda k: Params(temperature=0.7, max_tokens=200 + k), id="a limit that fits each task"),
            pytest.param(lambda k: Params(logprobs=True, temperature=k % 11 / 10), id="a short grid"),
        ],
    )
    def test_is_not_found(self, setting: Setting) -> None:
        reports = run(stand(), setting)
        assert swept(reports) == 0
        assert not any(len(report.findings.row) for report in reports)

    def test_a_study_of_temperatures_alone_stays_under_the_floor(self) -> None:
        reports = run(stand(), lambda k: Params(temperature=k / 50))
        assert swept(reports) == 0
        assert all((report.findings.score < 0.5).all() for report in reports)

    def test_a_team_of_many_settings_in_many_requests(self) -> None:
        """Forty settings, each used again and again: few requests bring a new one."""
        reports = run(stand(), lambda k: Params(logprobs=True, temperature=(k % 40) / 20), count=2000)
        assert swept(reports[20:]) == 0

    def test_strangers_with_one_setting_each(self) -> None:
        one = stand()
        for n in range(60):
            assert swept(run(one, lambda k, n=n: Params(logprobs=True, temperature=n / 50), count=10, who=f"a{n}")) == 0


def test_parameters_that_are_absent_are_no_combination() -> None:
    one = stand(min_combinations=2)
    reports = run(one, lambda k: Params(stream=True, seed=k))
    assert not any(report.counts for report in reports)
    assert not one.step(one.builder.build([request("a", START + 99 * TICK, "hello")])).counts


@pytest.mark.parametrize(
    ("params", "use"),
    [
        (Params(temperature=0.0), 0),
        (Params(logprobs=False, top_logprobs=0, n=1), 0),
        (Params(top_logprobs=1), LOGPROBS),
        (Params(logprobs=True, top_logprobs=20), LOGPROBS | MOST_LOGPROBS),
        (Params(n=32), MANY),
        (Params(logit_bias={"5": 1.0}), BIAS),
        (Params(logit_bias={}, temperature=1.0), 0),
    ],
)
def test_what_stands_out(params: Params, use: int) -> None:
    assert sampling_of(params)[1] == use
    assert sampling_of(params)[0] != 0


def test_the_order_of_biases_does_not_matter() -> None:
    left, right = Params(logit_bias={"1": 1.0, "2": 2.0}), Params(logit_bias={"2": 2.0, "1": 1.0})
    assert sampling_of(left) == sampling_of(right) != sampling_of(Params(logit_bias={"1": 2.0, "2": 1.0}))


@pytest.mark.parametrize("shadow", [False, True])
def test_a_long_sweep_alerts_on_the_account_alone_unless_in_the_shadow(shadow: bool) -> None:
    config = make_config(tune(sampling_sweep={"min_combinations": 20, "account_requests": 50, "shadow": shadow}))
    lane, builder = Lane(0, config), FrameBuilder(config)
    lane.offer(builder.build([request("a", START + k * 100, "x", params=logits(k)) for k in range(200)]))
    outputs = list(lane.flush())
    alerts = [alert for output in outputs for alert in output.alerts]
    assert [(alert.signals[0].name, alert.atlas) for alert in alerts] == (
        [] if shadow else [("sampling_sweep", ["AML.T0024.002"])]
    )
    assert sum(s.detector == "sampling_sweep" for output in outputs for s in output.signals) > 100
