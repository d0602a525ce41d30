"""`alert-assets incidents`: what a person needs at night, and what a script needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.commands.incidents import NOT_ANALYSED, Severity
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.notify.facts import incident_alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import T0, analysis, incident, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

HOSTILE = "[bold red]x[/bold red] \x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eevil :smile:"


def lake(settings: Settings, *gold: dict[str, Any], analysed: bool = True) -> None:
    write(settings, GOLD_INCIDENTS, *gold)
    if analysed:
        write(settings, PLATINUM_INCIDENTS, *map(analysis, gold))


def test_without_a_lake_there_are_no_incidents(run: Run) -> None:
    assert "No incidents yet" in (result := run("incidents")).out
    assert result.code == 0
    assert run("incidents", "--json").json == {"total": 0, "incidents": []}


def test_a_row_has_what_a_person_needs_at_night(settings: Settings, run: Run) -> None:
    gold = incident(1, severity="CRITICAL")
    lake(settings, gold)
    heading, row = run("incidents").out.splitlines()

    assert heading.split("  ")[0] == "Time (UTC)"
    for shown in ("2026-02-14 10:07:00Z", "ago", "CRITICAL", "payments-api", "host-a", "cpu_high", "12", "80%"):
        assert shown in row
    assert "Hypothesis: the rollout of v2.3.1" in row
    assert gold["incident_id"] in row


def test_newest_first_and_at_most_the_limit(settings: Settings, run: Run) -> None:
    lake(settings, *(incident(n) for n in (3, 1, 7, 5)))
    found = run("incidents", "--limit", "3", "--json").json

    assert found["total"] == 4
    assert [row["incident_id"][:4] for row in found["incidents"]] == ["0007", "0005", "0003"]
    assert "3 of 4 incidents; `alert-assets incidents --limit 0` shows all." in run("incidents", "--limit", "3").out
    assert len(run("incidents", "--limit", "0", "--json").json["incidents"]) == 4


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--application", "orders"], ["0002"]),
        (["--application", "o'hara; --", "--application", "orders"], ["0003", "0002"]),
        (["--severity", "critical"], ["0003"]),
        (["--severity", "CRITICAL", "--severity", "LOW"], ["0003", "0001"]),
        (["--since", "2026-02-14T10:08:00Z"], ["0003", "0002"]),
        (["--since", "2026-02-14T12:08:00.000001+02:00"], ["0003"]),
        (["--since", "1m"], []),
        (["--severity", "LOW", "--application", "orders"], []),
    ],
)
def test_filters(settings: Settings, run: Run, options: list[str], ids: list[str]) -> None:
    lake(
        settings,
        incident(1, severity="LOW"),
        incident(2, application_id="orders"),
        incident(3, application_id="o'hara; --", severity="CRITICAL"),
    )
    found = run("incidents", *options, "--json").json

    assert [row["incident_id"][:4] for row in found["incidents"]] == ids
    assert found["total"] == len(ids)
    assert ids or "No incidents match" in run("incidents", *options).out


def test_since_takes_an_age(settings: Settings, run: Run) -> None:
    now = datetime.now(UTC)
    lake(settings, incident(1, alert_timestamp=now - timedelta(hours=3)), incident(2, alert_timestamp=now))

    assert [run("incidents", "--since", age, "--json").json["total"] for age in ("90m", "2h", "1d")] == [1, 1, 2]


def test_json_has_the_row_and_its_analysis(settings: Settings, run: Run) -> None:
    gold = incident(1)
    lake(settings, gold)
    (row,) = run("incidents", "--json").json["incidents"]

    assert row["alert_timestamp"] == "2026-02-14T10:07:00.000000Z"
    assert row["error_summary"] == {"TimeoutException": 12}
    assert row["correlated_deployments"][0]["timestamp"] == "2026-02-14T10:06:00.000000Z"
    assert row["metric_summary"]["cpu_max"] == 94.5
    assert row["analysis"]["confidence_score"] == 0.8
    assert row["analysis"]["patterns"] == ["12 TimeoutException in 60 minutes", "v2.3.1 rolled out a minute before"]
    assert row["analysis"]["is_current"] is True
    assert run("incidents", "show", gold["incident_id"], "--json").json == row


@pytest.mark.parametrize("has_platinum", [False, True])
def test_what_is_not_analysed_yet_says_so(settings: Settings, run: Run, has_platinum: bool) -> None:
    lake(settings, incident(1), analysed=False)
    if has_platinum:
        write(settings, PLATINUM_INCIDENTS, analysis(incident(2)))

    assert NOT_ANALYSED in run("incidents").out
    assert NOT_ANALYSED in run("incidents", "0001").out
    assert run("incidents", "0001", "--json").json["analysis"] is None


def test_what_the_analyst_could_not_do_is_shown(settings: Settings, run: Run) -> None:
    gold = incident(1)
    lake(settings, gold, analysed=False)
    nothing = dict.fromkeys(["summary", "patterns", "root_cause", "confidence_score", "recommended_action", "model"])
    failed = analysis(gold, **nothing, error="no answer within 30 s", attempts=2, context_hash="0" * 64)
    write(settings, PLATINUM_INCIDENTS, failed)

    assert "analysis failed: no answer within 30 s" in run("incidents").out
    full = run("incidents", "0001").out
    assert "no answer within 30 s" in full
    assert "Attempts     2" in full
    assert "evidence has changed" in full


def test_one_in_full(settings: Settings, run: Run) -> None:
    gold = incident(1, resolved_at=T0 + timedelta(minutes=9))
    lake(settings, gold, incident(2))
    result = run("incidents", "show", "0001")

    assert result.code == 0
    assert result.out == run("incidents", gold["incident_id"].upper()).out
    for shown in (
        gold["incident_id"],
        gold["fingerprint"],
        "92.30 (threshold 80.00, highest 97.50)",
        "12 in the window 2026-02-14 10:06:00Z to 2026-02-14 10:11:00Z",
        "11 suppressed, 2",
        "2026-02-14 10:15:00Z",
        "142 events",
        "v2.3.1   rolling_update  d1",
        "- 12 TimeoutException in 60 minutes",
        "Confidence   80%",
        "Roll v2.3.1 back.",
        "rules, version rules-1",
        "2026-02-14 11:06:00Z",
        "  cpu_high triggered on payments-api host-a\n  number 1\n",
    ):
        assert shown in result.out
    assert "number 2" not in result.out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("00", "2 incidents begin with 00: "),
        ("f00d", "No incident's id begins with f00d"),
        ("' OR true --", "is not an incident id"),
        ("0" * 17, "is not an incident id"),
    ],
)
def test_an_id_that_does_not_name_one(settings: Settings, run: Run, given: str, message: str) -> None:
    lake(settings, incident(1), incident(2))
    result = run("incidents", "show", given)

    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_an_id_from_before_an_earlier_firing_arrived_leads_to_the_incident_of_its_window(
    settings: Settings, run: Run
) -> None:
    """People are told ids: in messages and in episodes."""
    told = incident(0xABC)
    moved = timedelta(seconds=30)
    now = {
        **told,
        "incident_id": "0123456789abcdef",
        "alert_timestamp": told["alert_timestamp"] - moved,
        "first_seen_timestamp": told["first_seen_timestamp"] - moved,
    }
    with State(settings.state_url).writing() as connection:
        raise_alert(connection, incident_alert(told), "told")
        raise_alert(connection, incident_alert({**told, "incident_id": None}), "before gold")
        raise_alert(connection, incident_alert(incident(0xDEF)), "of a window that is gone")
    lake(settings, now, incident(2, fingerprint=told["fingerprint"], window_start=told["window_end"]))

    for given in (told["incident_id"], "0ABC"):
        result = run("incidents", given)
        assert result.code == 0
        line = f"{given} is 0123456789abcdef now: an earlier firing of its window arrived late."
        assert result.out.splitlines()[:3] == [line, "", "Incident 0123456789abcdef"]
        in_json = run("incidents", given, "--json")
        assert in_json.json["incident_id"] == "0123456789abcdef"
        assert line in in_json.err
    assert run("incidents", "0def").code == 2


def test_without_a_lake_no_id_is_known(run: Run) -> None:
    assert run("incidents", "abc").code == 2


@pytest.mark.parametrize(
    "args",
    [["shwo"], ["--severity", "bad"], ["--since", "yesterday"], ["--limit", "-1"], ["--limit", "3", "show", "0001"]],
)
def test_wrong_use(settings: Settings, run: Run, args: list[str]) -> None:
    lake(settings, incident(1))
    result = run("incidents", *args)

    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err


def test_text_from_outside_steers_nothing(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gold = incident(1, host=HOSTILE, application_id=HOSTILE, alert_type=HOSTILE, incident_context_text=HOSTILE)
    write(settings, GOLD_INCIDENTS, gold)
    prose = dict.fromkeys(["summary", "root_cause", "recommended_action", "error", "model"], HOSTILE)
    write(settings, PLATINUM_INCIDENTS, analysis(gold, **prose, patterns=[HOSTILE]))

    for columns in ("", "80", "200"):
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        for args in ([], ["0001"], ["--json"]):
            out = run("incidents", *args).out
            assert not {"\x1b", "\x07", "\u202e"} & set(out)
            assert "[bold red]x" in out
            assert ":smile:" in out


def test_any_script_can_be_read(settings: Settings, run: Run) -> None:
    lake(settings, incident(1, application_id="決済サービス", host="höst-ü", alert_type="メモリ不足 🔥"))

    for args in ([], ["0001"]):
        out = run("incidents", *args).out
        assert "決済サービス" in out
        assert "höst-ü" in out
        assert "メモリ不足 🔥" in out


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_lines_fit_the_terminal_and_nothing_is_cut_but_prose(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    gold = incident(1, application_id="ts-order-service-7f9c5d8b4c", host="ts-order-service-7f9c5d8b4c-x2k9p")
    lake(settings, gold, incident(2))
    monkeypatch.setenv("COLUMNS", str(columns))

    for args in ([], ["0001"]):
        out = run("incidents", *args).out
        assert max(map(len, out.splitlines())) <= columns
        for shown in (gold["incident_id"], gold["application_id"], gold["host"], "HIGH", "80%"):
            assert shown in out
        assert "Hypothesis: the rollout of v2.3.1" in " ".join(out.split())


def test_the_severities_are_those_of_the_contract() -> None:
    from alert_assets.contracts.vocabulary import SEVERITIES

    assert [severity.value for severity in Severity] == list(reversed(SEVERITIES))


def test_what_the_alert_itself_said_is_shown(settings: Settings, run: Run) -> None:
    said = {"message": "disk \x1b[31mfull\nin an hour", "source": "grafana", "url": "https://x.example/1"}
    gold = incident(1, **said, labels={"team": "core", "env": "prod"}, other_alert_count=2)
    lake(settings, gold)
    shown = run("incidents", "show", gold["incident_id"]).out
    for part in (
        "env=prod",
        "team=core",
        "grafana",
        "https://x.example/1",
        "3 of this application in the lookback, 2 of",
    ):
        assert part in shown
    assert "\x1b" not in shown
    assert run("incidents", "show", gold["incident_id"], "--json").json["labels"] == {"team": "core", "env": "prod"}
