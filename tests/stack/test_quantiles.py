"""Quantiles that Prometheus computes from our histograms of long durations, against the true ones."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Histogram

from services.alert_relay.metrics import RelayMetrics
from services.bridge.metrics import ApprovalMetrics
from services.kit.clock import SystemClock
from services.outbox.metrics import OutboxMetrics
from tests.stack import servers

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
SHARES = (0.5, 0.95, 0.99)
#: The largest relative error that docs/metrics.md states, up to a true quantile of so many seconds.
ERRORS_TO_A_DAY = ((5 * MINUTE, 1.5), (HOUR, 0.5), (DAY, 1.0))
ERRORS_TO_A_MONTH = ((15.0, 2.0), (30 * DAY, 1.0))
#: Medians, seconds.
TO_A_DAY = (0.03, 0.3, 4.0, 40.0, 3 * MINUTE, 8 * MINUTE, 20 * MINUTE, 54 * MINUTE, 3 * HOUR, 7 * HOUR)
TO_A_MONTH = (8.0, 50.0, 8 * MINUTE, 54 * MINUTE, 5 * HOUR, 30 * HOUR, 5 * DAY)


def _outbox() -> OutboxMetrics:
    return OutboxMetrics(CollectorRegistry(), {})


def _relay() -> RelayMetrics:
    return RelayMetrics(CollectorRegistry(), SystemClock())


def _approvals() -> ApprovalMetrics:
    return ApprovalMetrics(CollectorRegistry(), closed=(), via=(), outcomes=())


_Errors = Sequence[tuple[float, float]]
#: A new histogram, medians of durations, and the stated errors.
HISTOGRAMS: dict[str, tuple[Callable[[], Histogram], Sequence[float], _Errors]] = {
    "cctelegram_message_duration_seconds": (lambda: _outbox().duration, TO_A_DAY, ERRORS_TO_A_DAY),
    "cctelegram_rate_limit_wait_seconds": (lambda: _outbox().limiter_wait, TO_A_DAY, ERRORS_TO_A_DAY),
    "cctelegram_notification_delay_seconds": (lambda: _relay().delay, TO_A_DAY, ERRORS_TO_A_DAY),
    "cctelegram_incident_resolve_seconds": (lambda: _relay().resolve, TO_A_MONTH, ERRORS_TO_A_MONTH),
    "cctelegram_incident_ack_seconds": (lambda: _relay().ack, TO_A_MONTH, ERRORS_TO_A_MONTH),
    "cctelegram_approval_decision_seconds": (lambda: _approvals().seconds, TO_A_MONTH, ERRORS_TO_A_MONTH),
}


def durations(median: float, sigma: float, count: int = 1_000) -> list[float]:
    """Log-normal durations in order, without chance; ``sigma`` 0 makes them all equal."""
    normal = NormalDist()
    return [median * 2.718281828 ** (sigma * normal.inv_cdf((n + 0.5) / count)) for n in range(count)]


def _buckets(histogram: Histogram) -> Iterator[tuple[str, int]]:
    for family in histogram.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                yield sample.labels["le"], int(sample.value)


def _largest_error(true: float, errors: _Errors) -> float:
    return next(error for upto, error in errors if true <= upto)


def _case(number: int, name: str, values: Sequence[float], errors: _Errors) -> dict[str, Any]:
    """A test of promtool: the durations are observed again each minute."""
    made, _, _ = HISTOGRAMS[name]
    histogram = made()
    for value in values:
        histogram.observe(value)
    expectations = []
    for share in SHARES:
        true = values[int(share * len(values))]
        rate = f'sum by (le) (rate({name}_bucket{{case="{number}"}}[5m]))'
        error = f"abs(histogram_quantile({share}, {rate}) / {true!r} - 1)"
        expectations.append(
            {
                "expr": f"{error} <= bool {_largest_error(true, errors)}",
                "eval_time": "10m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        )
    series = [
        {"series": f'{name}_bucket{{case="{number}", le="{bound}"}}', "values": f"0+{count}x20"}
        for bound, count in _buckets(histogram)
    ]
    return {"interval": "1m", "input_series": series, "promql_expr_test": expectations}


@pytest.mark.parametrize("name", sorted(HISTOGRAMS))
def test_quantiles_are_as_true_as_the_docs_say(name: str, tmp_path: Path) -> None:
    _, medians, errors = HISTOGRAMS[name]
    samples = [durations(median, sigma) for median in medians for sigma in (0.0, 0.2, 0.5)]
    tests = [_case(number, name, values, errors) for number, values in enumerate(samples)]
    path = tmp_path / "quantiles_test.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    tested = servers.run("promtool", "test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_docs_state_the_errors_that_are_tested() -> None:
    text = (servers.REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in HISTOGRAMS:
        assert f"`{name}`" in text
    for errors in (ERRORS_TO_A_DAY, ERRORS_TO_A_MONTH):
        assert " / ".join(f"{error:.0%}".replace("%", " %") for _, error in errors) in text
