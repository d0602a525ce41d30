"""SLOs from OpenSLO v1 files, the published format (https://github.com/OpenSLO/OpenSLO).

A file may hold several documents of the kinds DataSource, Service, SLI and SLO. What the format allows and
this project does not do is refused rather than ignored: an SLO that looks configured and is not measured is
worse than an error. That is so for calendar windows, time slices (good time is computed exactly), several
objectives in one SLO, and alert policies: OpenSLO v1 has one window in a condition, and the alerts here take
two (`burn_rate_windows.yaml`), the same for every SLO.

The metric source's `spec` says what is measured, the objective's `op` and `value` where bad begins:

=============== ==================================================================== ===========
measure         parameters                                                           objective
=============== ==================================================================== ===========
latency         stage; maxOverThresholdPerBatch makes a batch one event               lte seconds
freshness       table                                                                lte seconds
quality_score   table                                                                gte score
cost                                                                                 lte US dollars
lines           count: valid, and count: all (ratioMetric)
availability    table; count: available, and count: all (ratioMetric)
runs            count: succeeded, and count: all (ratioMetric); job, default all jobs
=============== ==================================================================== ===========
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from alert_assets.contracts import ALL_CONTRACTS, CONTRACTS
from alert_assets.errors import UserError
from alert_assets.kernel.durations import parse_duration
from alert_assets.kernel.yaml_lines import YamlDocument, YamlPath, YamlProblem, listed, path_within, read_documents
from alert_assets.slo.budget import Slo, windows_within
from alert_assets.slo.sli import (
    Availability,
    DailyCost,
    Freshness,
    Indicator,
    Latency,
    QualityScore,
    RunSuccess,
    ValidLines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The SLOs that come with the package.
PACKAGED = Path(__file__).with_name("objectives")

API_VERSION = "openslo/v1"
DATA_SOURCE_TYPE = "alert-assets"
MIN_EVENTS = "alert-assets.internal/min-events"
OPENS_BREAKER = "alert-assets.internal/opens-breaker"
DEFAULT_MIN_EVENTS = 20

_ANNOTATION_PREFIX = "alert-assets.internal/"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
Text = Annotated[str, Field(max_length=1050)]


class OpenSloError(UserError):
    """Files cannot be used; the message names each wrong place by file, line and field."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True, frozen=True)


class _Metadata(_Model):
    name: Name
    display_name: str | None = Field(None, min_length=1)
    labels: dict[str, str | list[str]] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class _LatencySource(_Model):
    measure: Literal["latency"]
    stage: Literal["landed_to_bronze", "ingested_to_bronze", "event_to_bronze", "event_to_gold", "landed_to_notified"]
    max_over_threshold_per_batch: int | None = Field(None, ge=0)

    def indicator(self, value: float) -> Indicator:
        return Latency(self.stage, value, self.max_over_threshold_per_batch)


class _FreshnessSource(_Model):
    measure: Literal["freshness"]
    table: Literal["bronze_events", "gold_incidents"]

    def indicator(self, value: float) -> Indicator:
        return Freshness(self.table, value)


class _QualityScoreSource(_Model):
    measure: Literal["quality_score"]
    table: str

    @field_validator("table")
    @classmethod
    def _is_scored(cls, value: str) -> str:
        if value not in CONTRACTS:
            raise ValueError(f"one of {', '.join(CONTRACTS)}")
        return value

    def indicator(self, value: float) -> Indicator:
        return QualityScore(self.table, value)


class _CostSource(_Model):
    measure: Literal["cost"]

    def indicator(self, value: float) -> Indicator:
        return DailyCost(value)


class _LinesSource(_Model):
    measure: Literal["lines"]
    count: Literal["valid", "all"]

    def indicator(self) -> Indicator:
        return ValidLines()


class _AvailabilitySource(_Model):
    measure: Literal["availability"]
    count: Literal["available", "all"]
    table: str

    @field_validator("table")
    @classmethod
    def _is_promised(cls, value: str) -> str:
        promised = [name for name, contract in CONTRACTS.items() if contract.availability_percent is not None]
        if value not in promised:
            raise ValueError(f"one of {', '.join(promised)}")
        return value

    def indicator(self) -> Indicator:
        return Availability(self.table)


class _RunsSource(_Model):
    measure: Literal["runs"]
    count: Literal["succeeded", "all"]
    job: str | None = Field(None, min_length=1)

    def indicator(self) -> Indicator:
        return RunSuccess(self.job)


class _MetricSource(_Model):
    metric_source_ref: Name | None = None
    type: str | None = None

    @field_validator("type")
    @classmethod
    def _ours(cls, value: str | None) -> str | None:
        if value not in (None, DATA_SOURCE_TYPE):
            raise ValueError(f"{DATA_SOURCE_TYPE}, the only kind of data source here")
        return value


class _ThresholdSource(_MetricSource):
    spec: Annotated[
        _LatencySource | _FreshnessSource | _QualityScoreSource | _CostSource, Field(discriminator="measure")
    ]


class _RatioSource(_MetricSource):
    spec: Annotated[_LinesSource | _RunsSource | _AvailabilitySource, Field(discriminator="measure")]


class _ThresholdMetric(_Model):
    metric_source: _ThresholdSource


class _RatioPart(_Model):
    metric_source: _RatioSource


class _RatioMetric(_Model):
    counter: Literal[False]
    good: _RatioPart
    total: _RatioPart


class _SliSpec(_Model):
    description: Text = ""
    threshold_metric: _ThresholdMetric | None = None
    ratio_metric: _RatioMetric | None = None


class _InlineSli(_Model):
    metadata: _Metadata | None = None
    spec: _SliSpec


class _TimeWindow(_Model):
    duration: str
    is_rolling: Literal[True]

    @field_validator("duration")
    @classmethod
    def _of_known_length(cls, value: str) -> str:
        if (
            not re.fullmatch(r"[1-9][0-9]{0,5}[mhdw]", value)
            or not timedelta(hours=1) <= parse_duration(value) <= _YEAR
        ):
            raise ValueError("a whole number and m, h, d or w, from 1h to 366d (months differ in length)")
        return value


class _Objective(_Model):
    display_name: str | None = Field(None, min_length=1)
    op: Literal["lte", "gte"] | None = None
    value: float | None = Field(None, gt=0, allow_inf_nan=False)
    target: float | None = Field(None, gt=0, lt=1)
    target_percent: float | None = Field(None, gt=0, lt=100)


class _SloSpec(_Model):
    description: Text = ""
    service: Name
    indicator: _InlineSli | None = None
    indicator_ref: Name | None = None
    time_window: list[_TimeWindow] = Field(min_length=1, max_length=1)
    budgeting_method: Literal["Occurrences"]
    objectives: list[_Objective] = Field(min_length=1, max_length=1)


class _DataSourceSpec(_Model):
    description: Text = ""
    type: Literal["alert-assets"]
    connection_details: dict[str, Any]

    @field_validator("connection_details")
    @classmethod
    def _none(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value:
            raise ValueError("{}: the lake and Dagster's runs are found by the settings")
        return value


class _ServiceSpec(_Model):
    description: Text = ""


class _Object(_Model):
    api_version: Literal["openslo/v1"]
    kind: str
    metadata: _Metadata


class _DataSource(_Object):
    spec: _DataSourceSpec


class _Service(_Object):
    spec: _ServiceSpec


class _Sli(_Object):
    spec: _SliSpec


class _SloObject(_Object):
    spec: _SloSpec


_KINDS: Mapping[str, type[_Object]] = {
    "DataSource": _DataSource,
    "Service": _Service,
    "SLI": _Sli,
    "SLO": _SloObject,
}
_YEAR = timedelta(days=366)
_ALERTS = "not used: every SLO has the burn-rate alerts of burn_rate_windows.yaml; remove it"
#: Fields of OpenSLO that are refused, and what to do instead.
_UNUSED = {
    "alertPolicies": _ALERTS,
    "calendar": "not used: windows roll; give isRolling: true",
    "timeSliceTarget": "not used: good time is computed exactly, without slices",
    "timeSliceWindow": "not used: good time is computed exactly, without slices",
    "bad": "not used: give good and total",
    "raw": "not used: give good and total",
    "rawType": "not used: give good and total",
}


def load_slos(folder: Path | str = "") -> tuple[Slo, ...]:
    """Read the SLOs in the `*.yaml` and `*.yml` files of a folder, by default those of the package, by name.

    Raises:
        OpenSloError: there are none, or something in the files is wrong.
        UserError: the folder cannot be read.
    """
    root = Path(folder) if folder else PACKAGED
    files = sorted(path for path in _entries(root) if path.suffix in (".yaml", ".yml") and path.is_file())
    problems: list[str] = []
    documents: list[tuple[YamlDocument, _Object]] = []
    for file in files:
        documents += _read(file, problems)
    # What refers to a broken object would only be reported a second time.
    slos = [] if problems else _resolve(documents, problems)
    if problems:
        raise OpenSloError(
            f"The SLOs cannot be used:\n{listed(problems)}\n"
            "Put the files right; `alert-assets slo check` looks at them again."
        )
    if not slos:
        raise OpenSloError(
            f"No SLO is in the files *.yaml and *.yml of {root} (ALERTS_SLO_DIR). Put OpenSLO v1 files there, or "
            "name another folder."
        )
    return tuple(sorted(slos, key=lambda slo: slo.name))


def _entries(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError as error:
        raise UserError(
            f"The folder of SLOs {root} cannot be read: {error.strerror or error}. Name another one (ALERTS_SLO_DIR)."
        ) from error


def _read(file: Path, problems: list[str]) -> list[tuple[YamlDocument, _Object]]:
    """Read the objects of a file that are right by themselves; what is not is added to the problems."""
    found = []
    # What connects to a data source may hold a password.
    for document in read_documents(file, problems, secret="connectionDetails"):  # noqa: S106 (the name of a field)
        try:
            found.append((document, _validated(document)))
        except ValidationError as error:
            problems += _explain(document, error)
        except YamlProblem as problem:
            problems.append(document.problem(problem.path, problem.rule))
    return found


def _validated(document: YamlDocument) -> _Object:
    content = document.content
    if not isinstance(content, dict):
        raise YamlProblem((), "an object with apiVersion, kind, metadata and spec")
    if content.get("apiVersion") != API_VERSION:
        raise YamlProblem(("apiVersion",), f"{API_VERSION}, the version that is read here")
    kind = content.get("kind")
    if kind in ("AlertPolicy", "AlertCondition", "AlertNotificationTarget"):
        raise YamlProblem(("kind",), _ALERTS)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise YamlProblem(("kind",), f"one of {', '.join(_KINDS)}")
    return _KINDS[kind].model_validate(content)


def _resolve(documents: Sequence[tuple[YamlDocument, _Object]], problems: list[str]) -> list[Slo]:
    """Build the SLOs, with what they refer to; what refers to nothing is added to the problems."""
    named: dict[tuple[str, str], _Object] = {}
    for document, entry in documents:
        key = entry.kind, entry.metadata.name
        if key in named:
            problems.append(document.problem(("metadata", "name"), f"another {entry.kind} has this name"))
        named[key] = entry
    slos: list[Slo] = []
    thresholds: dict[str, float] = {}
    for document, entry in documents:
        try:
            _check_annotations(entry.metadata.annotations)
            if isinstance(entry, _Sli):
                _sources(entry.spec, ("spec",), named)
            elif isinstance(entry, _SloObject):
                slo = _slo(entry, named)
                _same_threshold(slo, thresholds)
                slos.append(slo)
        except YamlProblem as problem:
            problems.append(document.problem(problem.path, problem.rule))
    return slos


def _slo(entry: _SloObject, named: Mapping[tuple[str, str], _Object]) -> Slo:
    spec, objective = entry.spec, entry.spec.objectives[0]
    if ("Service", spec.service) not in named:
        raise YamlProblem(("spec", "service"), "there is no Service of this name in the folder")
    if (objective.target is None) == (objective.target_percent is None):
        raise YamlProblem(("spec", "objectives", 0), "either target or targetPercent has to be given")
    target = (
        Fraction(str(objective.target))
        if objective.target is not None
        else Fraction(str(objective.target_percent)) / 100
    )
    slo = Slo(
        name=entry.metadata.name,
        service=spec.service,
        indicator=_indicator(spec, named),
        target=target,
        window=parse_duration(spec.time_window[0].duration),
        min_events=int(entry.metadata.annotations.get(MIN_EVENTS, DEFAULT_MIN_EVENTS)),
        opens_breaker=entry.metadata.annotations.get(OPENS_BREAKER),
        description=spec.description,
    )
    _check_breaker(slo)
    return slo


def _indicator(spec: _SloSpec, named: Mapping[tuple[str, str], _Object]) -> Indicator:
    if (spec.indicator is None) == (spec.indicator_ref is None):
        raise YamlProblem(("spec",), "either indicator or indicatorRef has to be given")
    if spec.indicator is not None:
        sli = spec.indicator.spec
        _sources(sli, ("spec", "indicator", "spec"), named)
    else:
        referred = named.get(("SLI", spec.indicator_ref or ""))
        if not isinstance(referred, _Sli):
            raise YamlProblem(("spec", "indicatorRef"), "there is no SLI of this name in the folder")
        sli = referred.spec
    objective, at = spec.objectives[0], ("spec", "objectives", 0)
    if sli.ratio_metric is not None:
        if objective.op is not None or objective.value is not None:
            raise YamlProblem(at, "op and value are for a thresholdMetric; a ratioMetric has neither")
        return sli.ratio_metric.total.metric_source.spec.indicator()
    assert sli.threshold_metric is not None
    source = sli.threshold_metric.metric_source.spec
    op = "gte" if isinstance(source, _QualityScoreSource) else "lte"
    if objective.op != op:
        raise YamlProblem((*at, "op"), f"{op}, for {source.measure}")
    if objective.value is None:
        raise YamlProblem((*at, "value"), "has to be given for a thresholdMetric")
    if isinstance(source, _QualityScoreSource) and objective.value > 100:
        raise YamlProblem((*at, "value"), "a score, at most 100")
    return source.indicator(objective.value)


def _sources(sli: _SliSpec, path: YamlPath, named: Mapping[tuple[str, str], _Object]) -> None:
    """Check what the models of the parts cannot: what fits together, and what is referred to."""
    if (sli.threshold_metric is None) == (sli.ratio_metric is None):
        raise YamlProblem(path, "either thresholdMetric or ratioMetric has to be given")
    if sli.threshold_metric is not None:
        _check_source(sli.threshold_metric.metric_source, (*path, "thresholdMetric", "metricSource"), named)
        return
    assert sli.ratio_metric is not None
    good, total = sli.ratio_metric.good.metric_source, sli.ratio_metric.total.metric_source
    _check_source(good, (*path, "ratioMetric", "good", "metricSource"), named)
    _check_source(total, (*path, "ratioMetric", "total", "metricSource"), named)
    counted = (*path, "ratioMetric", "good", "metricSource", "spec", "count")
    if good.spec.count == "all":
        raise YamlProblem(counted, "all is the total; good is valid, succeeded or available")
    if total.spec.count != "all":
        raise YamlProblem((*path, "ratioMetric", "total", "metricSource", "spec", "count"), "all")
    if good.spec.indicator() != total.spec.indicator():
        raise YamlProblem((*path, "ratioMetric", "good", "metricSource", "spec"), "the same as in total, but for count")


def _check_source(source: _MetricSource, path: YamlPath, named: Mapping[tuple[str, str], _Object]) -> None:
    if source.metric_source_ref is None and source.type is None:
        raise YamlProblem(path, f"either metricSourceRef or type: {DATA_SOURCE_TYPE} has to be given")
    if source.metric_source_ref is not None and ("DataSource", source.metric_source_ref) not in named:
        raise YamlProblem((*path, "metricSourceRef"), "there is no DataSource of this name in the folder")


def _check_annotations(annotations: Mapping[str, str]) -> None:
    at = ("metadata", "annotations")
    for key in annotations:
        if key.startswith(_ANNOTATION_PREFIX) and key not in (MIN_EVENTS, OPENS_BREAKER):
            raise YamlProblem((*at, key), f"there is no such annotation; {MIN_EVENTS} and {OPENS_BREAKER} are known")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", annotations.get(MIN_EVENTS, "1")):
        raise YamlProblem((*at, MIN_EVENTS), "a whole number over 0, in quotes")


def _check_breaker(slo: Slo) -> None:
    if slo.opens_breaker is None:
        return
    at = ("metadata", "annotations", OPENS_BREAKER)
    breakers = sorted({contract.breaker for contract in ALL_CONTRACTS.values() if contract.breaker})
    if slo.opens_breaker not in breakers:
        raise YamlProblem(at, f"one of {', '.join(breakers)}")
    fast = windows_within(slo.window)[0].limit(slo.window)
    if fast * slo.error_budget >= 1:
        raise YamlProblem(
            at,
            f"the fast burn is {float(fast):g} times the error budget, more than all events, and can never fire; "
            f"the target has to be above {float(1 - 1 / fast):.4f}",
        )


def _same_threshold(slo: Slo, thresholds: dict[str, float]) -> None:
    """Refuse a second threshold of a stage: `pipeline_latency` counts the rows over one."""
    if not isinstance(slo.indicator, Latency):
        return
    stage, seconds = slo.indicator.stage, slo.indicator.threshold_seconds
    if thresholds.setdefault(stage, seconds) != seconds:
        raise YamlProblem(
            ("spec", "objectives", 0, "value"),
            f"another SLO measures {stage} with {thresholds[stage]:g} seconds; a stage has one threshold",
        )


def _explain(document: YamlDocument, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        path = tuple(path_within(document.content, problem["loc"]))
        if problem["type"].startswith("union_tag"):
            path = (*path, "measure")
        yield document.problem(path, _rule(problem))


def _rule(problem: Mapping[str, Any]) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing" | "union_tag_not_found":
            return "has to be given"
        case "extra_forbidden":
            return _UNUSED.get(str(problem["loc"][-1]), "there is no such field here")
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "union_tag_invalid":
            return f"one of {context['expected_tags']}".replace("'", "")
        case "string_pattern_mismatch":
            return "up to 63 of a-z, 0-9 and -, with a letter or digit first and last"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")
