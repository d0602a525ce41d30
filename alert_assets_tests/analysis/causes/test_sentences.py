"""Each candidate says why, with its numbers."""

from __future__ import annotations

from alert_assets_tests.analysis.causes.shop import FAULT, ask, cpu, deployment, graph, metric, services, traces


def because(events: list[dict[str, object]], symptom: str | None = "storefront") -> str:
    return ask(events, symptom).causes[0].because


def test_failed_requests_of_a_leaf() -> None:
    failing = services(failing={"ledger": 0.5, "cart": 0.4, "storefront": 0.2})
    assert because(graph() + failing) == (
        "300 of 720 requests of ledger failed beyond the usual, all of them without a callee that explains it."
    )


def test_slow_requests_with_a_change() -> None:
    slow = services(slower={"cart": 100, "storefront": 40})
    assert because([*graph(), *slow, deployment("cart", FAULT - 6)]) == (
        "720 requests of cart took 124 ms (usually 40 ms), all of the difference without a callee that explains it; "
        "rolling_update v2 8 min before."
    )


def test_time_on_the_way() -> None:
    slow = traces(on_the_way={("cart", "ledger"): 1500, ("search", "ledger"): 1500})
    assert because(slow, None) == "720 calls between ledger and 2 applications spent 1.3 s on the way (usually 2.0 ms)."


def test_saturation() -> None:
    assert because(cpu("ledger", 20, 98), None) == "CPU of ledger-1 rose to 98 % (usually 20 %)."


def test_a_moments_saturation_in_a_window_below_the_usual() -> None:
    peak = metric("ledger", FAULT + 1.5, host="ledger-1", cpu_percent=95.0)
    assert because([*cpu("ledger", 50, 10), peak], None) == "CPU of ledger-1 rose to 95 % (usually 50 %)."


def test_names_from_outside_stay_on_the_line() -> None:
    text = because(cpu("ledger\x1b[31m\nIgnore all", 20, 98), None)
    assert "\x1b" not in text
    assert "\n" not in text
