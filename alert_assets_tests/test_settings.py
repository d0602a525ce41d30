"""Where the settings come from, and what a bad one says, to Python and to `dagster`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alert_assets.settings import Settings, SettingsError, load_settings
from alert_assets.state.database import State

ROOT = Path(__file__).parents[1]
FIELDS = "alert_id, alert_type, application_id, error_code, host, message, severity, source, labels.NAME"
KEY = "sk-very-secret"

#: Variable, bad value, what the message says is allowed.
BAD = [
    ("DEDUP_FIELDS", "application_id,colour", FIELDS),
    ("DEDUP_FIELDS", "host,host", FIELDS),
    ("DEDUP_FIELDS", "host,,alert_type", FIELDS),
    ("DEDUP_FIELDS", "labels.", FIELDS),
    ("DEDUP_WINDOW_MINUTES", "0", "greater than 0"),
    ("DEDUP_WINDOW_MINUTES", "5.5", "valid integer"),
    ("CORRELATION_LOOKBACK_MINUTES", "an hour", "valid integer"),
    ("WATERMARK_DELAY_MINUTES", "-1", "greater than 0"),
    ("MAX_FUTURE_SKEW_MINUTES", "10081", "less than or equal to 10080"),
    ("MAX_FILES_PER_TRIGGER", "0", "greater than 0"),
    ("DATA_DIR", "s3://bucket/data", "a local folder; ALERTS_LAKE_DIR is what may be a URL"),
    ("DATA_DIR", "~nobody-here/data", "a path whose ~ can be expanded"),
    ("LANDING_DIR", "s3a://bucket/landing", "s3://...; s3a is Spark's own name"),
    ("LAKE_DIR", "~nobody-here/lake", "a path whose ~ can be expanded"),
    *[
        (name, f"/tmp/x/{folder}", f"a path without {bad}")
        for name in ("DATA_DIR", "LAKE_DIR")
        for folder, bad in (
            ("18_org%2Frepo", "'%2F'"),
            ("17 b é#x", "'#'"),
            ("what?", "'?'"),
            ("[x", "'['"),
            ("x]", "']'"),
            ("a|b", "'|'"),
            ("^", "'^'"),
            ("back\\slash", r"'\\'"),
        )
    ],
    ("WEB_URL", "alerts.example", "a URL that starts with http:// or https://"),
    ("WEB_URL", "https://alerts.example/?x", "neither ? nor #"),
    ("STATSD_URL", "localhost:8125", "statsd://host:8125 or dogstatsd://host:8125"),
    ("STATSD_URL", "statsd://host:70000", "statsd://host:8125"),
    ("STATSD_URL", "statsd://", "statsd://host:8125"),
    ("SPARK_MODE", "rdd", "'connect' or 'classic'"),
    ("SPARK_MASTER", "yarn", "local, local[N], local[*] or spark://host:port"),
    ("SPARK_MEMORY", "lots", "^[1-9][0-9]*[mg]$"),
    ("LOCK_TIMEOUT_SECONDS", "0", "greater than 0"),
    ("EXECUTOR", "docker", "'in_process' or 'multiprocess'"),
    ("BREAKER_FAILURE_THRESHOLD", "0", "greater than or equal to 1"),
    ("BREAKER_FAILURE_RATE_PERCENT", "101", "less than or equal to 100"),
    ("BREAKER_RECOVERY_TIMEOUT_SECONDS", "0", "greater than 0"),
    ("GATE_MAX_QUARANTINE_PERCENT", "0", "greater than 0"),
    ("GATE_MAX_NULL_PERCENT", "host", "field=percent pairs"),
    ("GATE_MAX_NULL_PERCENT", "event_id=1", "0 to 100 percent, for: alert_id, alert_type"),
    ("GATE_MAX_NULL_PERCENT", "host=101", "0 to 100 percent"),
    ("ANALYST", "oracle", "'rules' or 'llm'"),
    ("ANALYSIS_MAX_ATTEMPTS", "0", "greater than or equal to 1"),
    ("LLM_BASE_URL", "localhost:8000", "starts with http:// or https://"),
    ("LLM_TIMEOUT_SECONDS", "nan", "less than or equal to 86400"),
    ("LLM_MAX_RETRIES", "21", "less than or equal to 20"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with neither variables nor a `.env`."""
    for name in [name for name in os.environ if name.upper().startswith("ALERTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(**overrides: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(**overrides)
    return str(refused.value)


PLACES = ["data_dir", "landing_dir", "lake_dir", "checkpoint_dir", "archive_dir"]


@pytest.mark.parametrize("name", PLACES)
def test_a_path_of_two_lines_is_refused(name: str) -> None:
    assert r"a path without the control character '\n'" in complaint(**{name: "/tmp/two\nlines"})


@pytest.mark.parametrize("name", ["data_dir", "landing_dir"])
def test_a_colon_and_a_pattern_in_the_landing_zones_path_are_refused(name: str) -> None:
    assert "a path with a colon may have none of { } [ ] * ?" in complaint(**{name: "/tmp/10:00 {a}"})
    assert load_settings(**{name: "/tmp/10:00"}).landing_dir.startswith("/tmp/10:00")


@pytest.mark.parametrize("name", [*PLACES, "state_url"])
def test_a_path_that_is_not_utf_8_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = b"sqlite:///" if name == "state_url" else b""
    monkeypatch.setenv(f"ALERTS_{name.upper()}", os.fsdecode(scheme + b"/tmp/bad\xff"))
    assert "a path without bytes that are not UTF-8" in complaint()


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("sqlite:////tmp/what?/x.db", "write a ? in the path as %3F and a % as %25"),
        ("sqlite:////tmp/what?timeout=5/x.db", "write a ? in the path as %3F and a % as %25"),
        ("sqlite:////tmp/two\nlines/x.db", r"a path without the control character '\n'"),
    ],
)
def test_a_state_url_that_would_name_another_file_is_refused(url: str, because: str) -> None:
    assert because in complaint(state_url=url)


@pytest.mark.parametrize("name", ["100%", "17 b é, {x}*~!", "%zz;&='\"$", "a%3"])
def test_state_is_under_the_data_dir_whatever_its_name(folder: Path, name: str) -> None:
    settings = load_settings(data_dir=folder / name)
    with State(settings.state_url).writing():
        pass
    assert (folder / name / "state/alert_assets.db").is_file()


@pytest.mark.parametrize("name", ["18_org%2Frepo", "17 b é#x", "what?", "[x|^", "back\\slash"])
def test_a_state_url_may_name_any_folder(folder: Path, name: str) -> None:
    path = str(folder / name).replace("%", "%25").replace("?", "%3F")
    with State(load_settings(state_url=f"sqlite:///{path}/x.db").state_url).writing():
        pass
    assert (folder / name / "x.db").is_file()


def test_defaults(folder: Path) -> None:
    settings = load_settings()

    data = folder / "data"
    assert settings.data_dir == data
    assert settings.landing_dir == str(data / "landing")
    assert settings.lake_dir == str(data / "lake")
    assert settings.checkpoint_dir == str(data / "checkpoints")
    assert settings.state_dir == data / "state"
    assert settings.state_url.get_secret_value() == f"sqlite:///{data}/state/alert_assets.db"
    assert settings.dedup_fields == ("application_id", "host", "alert_type")
    assert (settings.dedup_window_minutes, settings.correlation_lookback_minutes) == (5, 60)
    assert (settings.watermark_delay_minutes, settings.max_future_skew_minutes) == (10, 5)
    assert settings.max_files_per_trigger == 10
    assert settings.analyst == "rules"
    assert list(folder.iterdir()) == [], "reading the settings makes no folder"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_environment_wins_over_dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ALERTS_DEDUP_WINDOW_MINUTES=7\nALERTS_MAX_FILES_PER_TRIGGER=3\nOTHERS=5\n")
    monkeypatch.setenv("ALERTS_DEDUP_WINDOW_MINUTES", "15")
    monkeypatch.setenv("ALERTS_DEDUP_FIELDS", "application_id, labels.region")

    settings = load_settings()

    assert (settings.dedup_window_minutes, settings.max_files_per_trigger) == (15, 3)
    assert settings.dedup_fields == ("application_id", "labels.region")


def test_dotenv_of_a_windows_editor(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xef\xbb\xbfALERTS_DEDUP_WINDOW_MINUTES=7\r\nALERTS_ANALYST=rules\r\n")

    assert load_settings().dedup_window_minutes == 7


def test_dotenv_that_is_not_utf8(folder: Path) -> None:
    (folder / ".env").write_bytes(b"ALERTS_LLM_MODEL=caf\xe9\n")

    assert ".env is not UTF-8" in complaint()


def test_an_empty_variable_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "LAKE_DIR", "DEDUP_WINDOW_MINUTES", "DEDUP_FIELDS", "LLM_BASE_URL"):
        monkeypatch.setenv(f"ALERTS_{name}", "")

    assert load_settings() == load_settings(_env_file=None, data_dir=folder / "data")


def test_each_location_moves_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_DATA_DIR", "elsewhere")
    monkeypatch.setenv("ALERTS_LANDING_DIR", "~/landing")
    monkeypatch.setenv("ALERTS_LAKE_DIR", "s3://bucket/lake/")
    monkeypatch.setenv("ALERTS_STATE_URL", "postgresql+psycopg://alerts@db/alerts")

    settings = load_settings()

    assert settings.landing_dir == str(Path.home() / "landing")
    assert settings.lake_dir == "s3://bucket/lake"
    assert settings.checkpoint_dir == str(folder / "elsewhere" / "checkpoints")
    assert settings.state_url.get_secret_value() == "postgresql+psycopg://alerts@db/alerts"


def test_no_secret_is_in_the_repr() -> None:
    settings = load_settings(state_url="postgresql+psycopg://alerts:hunter2@db/alerts", llm_api_key="sk-hunter2")

    assert "hunter2" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_a_bad_value_is_named_with_what_is_allowed(
    name: str, value: str, allowed: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "environment":
        monkeypatch.setenv(f"ALERTS_{name}", value)
    else:
        (folder / ".env").write_text(f"ALERTS_{name}={value}\n")

    first, problem, last = complaint().splitlines()

    assert first == "The settings cannot be used:"
    assert problem.startswith(f"  ALERTS_{name}={value!r}: ")
    assert allowed in problem
    assert last == "Set them in the environment or in .env and try again."


def test_all_that_is_bad_is_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {name: value for name, value, _ in BAD} | {"ANALYST": "llm", "LLM_BASE_URL": "ftp://x", "STATE_URL": "db"}
    for name, value in bad.items():
        monkeypatch.setenv(f"ALERTS_{name}", value)

    message = complaint()

    named = {line.partition("=")[0].removeprefix("  ALERTS_") for line in message.splitlines()[1:-1]}
    assert named == bad.keys() - {"ANALYST"} | {"LLM_MODEL"}


def test_the_llm_needs_an_endpoint_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_ANALYST", "llm")

    assert complaint().splitlines()[1:-1] == [
        "  ALERTS_LLM_BASE_URL='': ALERTS_ANALYST=llm needs it",
        "  ALERTS_LLM_MODEL='': ALERTS_ANALYST=llm needs it",
    ]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_LLM_API_KEY", KEY)
    assert KEY not in repr(load_settings())
    assert KEY not in load_settings().model_dump_json()

    monkeypatch.setenv("ALERTS_ANALYST", "llm")
    monkeypatch.setenv("ALERTS_STATE_URL", "postgres:/alerts:hunter2@db")
    message = complaint()
    assert KEY not in message
    assert "ALERTS_STATE_URL=(hidden): a SQLAlchemy URL" in message
    # Not a string: the one way to make the key itself wrong.
    message = complaint(llm_api_key=[KEY])
    assert "ALERTS_LLM_API_KEY=(hidden): " in message
    assert KEY not in message


MESSAGE = (
    "The settings cannot be used:\n"
    "  ALERTS_DEDUP_WINDOW_MINUTES='0': Input should be greater than 0\n"
    "  ALERTS_SPARK_MEMORY='lots': String should match pattern '^[1-9][0-9]*[mg]$'\n"
    "Set them in the environment or in .env and try again."
)


def dagster_with_bad_settings(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ALERTS_DEDUP_WINDOW_MINUTES": "0",
        "ALERTS_SPARK_MEMORY": "lots",
        "ALERTS_LLM_API_KEY": KEY,
        "DAGSTER_HOME": "",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert KEY not in ended.stdout + ended.stderr
    return ended


def test_a_run_from_the_terminal_ends_with_the_message_and_no_stack_trace(folder: Path) -> None:
    ended = dagster_with_bad_settings("asset", "materialize", "--select", "*", "-m", "alert_assets.definitions")
    assert ended.stderr.rstrip().endswith(f"Error: {MESSAGE}")
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_code_location_shows_the_message_first(folder: Path) -> None:
    """Dagster shows where an error of a code location was raised; the two lines are ours, and come last."""
    ended = dagster_with_bad_settings("definitions", "validate", "-w", str(ROOT / "workspace.yaml"))
    shown, _, trace = ended.stdout.partition("Stack Trace:")
    assert shown.rstrip().endswith(MESSAGE)
    assert trace.count("  File ") == 2
