"""How often the ranking of causes names the culprit: labelled faults, with denominators.

The labels are read here and in tests, nowhere in the product. Every figure is over all labelled faults of its kind,
those of which the telemetry shows nothing included.
"""

from __future__ import annotations

import gzip
import json
import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes import Observations, Window, log_minutes, observe, rank
from alert_assets.analysis.causes.observations import Change
from alert_assets.analysis.causes.problems import Incident, group
from alert_assets.analysis.problem import ProblemContext
from alert_assets.analysis.problem_rules import diagnose_problem
from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.errors import UserError
from alert_assets.transforms.problem_facts import Evidence, row_of
from benchmarks.results import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alert_assets.analysis.causes import Ranking
    from alert_assets.analysis.causes.problems import Problem
    from benchmarks.bench import Bench

#: Days of Nezha: metrics and logs in one folder, calls in another, labels in a file.
DAYS = ("nezha-2022-08-22", "nezha-2023-01-30")
PETSHOP = "petshop-train"

ALL_KINDS = "Nezha, all kinds"

#: After a fault's injection, in minutes, that the product is asked; the targets are of `ASKED_AFTER`.
OFFSETS = (0, 1, 2, 3, 4, 5, 6)
ASKED_AFTER = 3
#: Draws of edges that are missing, and of changes elsewhere.
DRAWS = 20
_MISSING, _DECOYS = 0.2, 3
#: PetShop's changes come 480 s before the symptom.
_CHANGE_BEFORE_SYMPTOM = timedelta(seconds=480)
#: Moments a day, ten minutes apart, from half an hour after its last labelled fault on.
_QUIET = 60

#: An alert so long after an injection is of that fault.
_OF_A_FAULT = timedelta(minutes=10)
_NOISE = re.compile(r"\b(noise|transient)", re.IGNORECASE)

Event = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A labelled fault: when, where, of what kind, and where it shows if that is known."""

    at: datetime
    application_id: str
    host: str
    kind: str
    symptom: str | None = None


@dataclass
class Figure:
    """How often the culprit came first and among three, of how many; the target where there is one."""

    name: str
    target_first: float | None = None
    target_three: float | None = None
    first: int = 0
    three: int = 0
    of: int = 0
    #: (confidence, whether it was right) of each answer.
    claims: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, ranking: Ranking, fault: Fault) -> None:
        """Count one ranking."""
        names = [cause.application_id for cause in ranking.causes]
        is_first = names[:1] == [fault.application_id]
        self.first += is_first
        self.three += fault.application_id in names
        self.of += 1
        self.claims.append((ranking.confidence, is_first))

    @property
    def brier(self) -> float:
        """Mean squared error of the confidence; 0 is best."""
        return sum((confidence - right) ** 2 for confidence, right in self.claims) / len(self.claims)

    @property
    def base_rate_brier(self) -> float:
        """The Brier score of who always says how often the answer is right."""
        rate = self.first / self.of
        return rate * (1 - rate)

    @property
    def targets(self) -> list[Target]:
        """What of it has a target."""
        wanted = (("first", self.first, self.target_first), ("among three", self.three, self.target_three))
        return [
            _share(f"{self.name}: culprit {place}", hits, self.of, share)
            for place, hits, share in wanted
            if share is not None
        ]

    @property
    def is_met(self) -> bool:
        """Whether what has a target reaches it."""
        return all(target.is_met for target in self.targets)


def find_telemetry() -> Path:
    """The folder `shared/telemetry` beside the repository or above it.

    Raises:
        UserError: there is none.
    """
    for parent in Path(__file__).resolve().parents:
        if (folder := parent / "shared" / "telemetry").is_dir():
            return folder
    raise UserError(
        "No labelled telemetry: there is no folder shared/telemetry beside the repository. Give --telemetry."
    )


def measure(telemetry: Path, draws: int = DRAWS) -> list[Figure]:
    """Rank every labelled fault, plain and made harder."""
    return [*_nezha(telemetry), *_petshop(telemetry, draws)]


def part(bench: Bench, draws: int = DRAWS) -> None:
    """Add the targets; without the labelled telemetry, which is not in the repository, there are none."""
    try:
        telemetry = find_telemetry()
    except UserError as error:
        bench.say(f"signal is left out: {error}")
        return
    bench.results.targets += targets(measure(telemetry, draws), grouping(telemetry), noise(telemetry))


def _nezha(telemetry: Path) -> list[Figure]:
    days = [(read(telemetry, day, f"dependencies-{day}"), list(labels(telemetry, day))) for day in DAYS]
    seen = [(_observed(events), faults) for events, faults in days]
    figures = {
        "cpu": Figure("Nezha, CPU faults", 0.9),
        "network": Figure("Nezha, network delays", 0.55, 0.85),
        "other": Figure("Nezha, exceptions and wrong returns"),
        "all": Figure(ALL_KINDS, 0.6, 0.78),
    }
    by_offset = [Figure(f"Nezha, all kinds, asked {offset} min after the injection") for offset in OFFSETS]
    quiet = Figure("Nezha, moments after the last fault, no cause claimed")
    by_day = [Figure(f"Nezha, {day.removeprefix('nezha-')}") for day in DAYS]
    for (observed, faults), of_day in zip(seen, by_day, strict=True):
        for fault in faults:
            for offset, figure in zip(OFFSETS, by_offset, strict=True):
                ranking = _ask(observed, fault, timedelta(minutes=offset))
                figure.add(ranking, fault)
                if offset == ASKED_AFTER:
                    kind = next((kind for kind in ("cpu", "network") if fault.kind.startswith(kind)), "other")
                    for one in (figures[kind], figures["all"], of_day):
                        one.add(ranking, fault)
        for number in range(_QUIET):
            ranking = _ask(observed, replace(faults[-1], at=faults[-1].at + timedelta(minutes=30 + 10 * number)))
            quiet.first += ranking.answer is None
            quiet.three += not ranking.causes
            quiet.of += 1
            quiet.claims.append((ranking.confidence, False))
    return [*figures.values(), quiet, *by_day, *by_offset]


def _petshop(telemetry: Path, draws: int) -> list[Figure]:
    events, faults = read(telemetry, PETSHOP), list(labels(telemetry, PETSHOP))
    observed = _observed(events)
    plain = Figure("PetShop, from the symptom", 1.0)
    everywhere = Figure("PetShop, over all applications")
    unchanged = Figure("PetShop, changes left out")
    missing = Figure(f"PetShop, {_MISSING:.0%} of the edges missing, {draws} draws", 0.85)
    decoys = Figure(f"PetShop, {_DECOYS} changes elsewhere, {draws} draws", 0.95)
    for fault in faults:
        plain.add(_ask(observed, fault), fault)
        everywhere.add(_ask(observed, replace(fault, symptom=None)), fault)
        unchanged.add(_ask(replace(observed, changes=[]), fault), fault)
    for draw in range(draws):
        random = Random(draw)  # noqa: S311  # reproducible, not secret
        fewer_edges = _observed(_without_edges(events, random))
        more_changes = _with_decoys(observed, faults, random)
        for fault in faults:
            missing.add(_ask(fewer_edges, fault), fault)
            decoys.add(_ask(more_changes, fault), fault)
    return [plain, everywhere, unchanged, missing, decoys]


@dataclass(frozen=True)
class Grouping:
    """How issues and problems map to each other."""

    issues: int
    incidents: int
    problems: int
    #: Issues of which every incident is in one problem.
    whole: int
    #: Problems with incidents of two issues or more.
    mixed: int

    @property
    def targets(self) -> list[Target]:
        """1.3 problems an issue at most, nine in ten issues whole, one problem in twenty mixed at most."""
        problems_of_two = f"PetShop: problems with two issues, of {self.problems}"
        return [
            Target("j", f"PetShop: problems an issue, {self.issues} issues", self.problems / self.issues, 1.3),
            _share("PetShop: issues in one problem", self.whole, self.issues, 0.9),
            Target("j", problems_of_two, self.mixed, 0.05 * self.problems, unit=""),
        ]

    @property
    def is_met(self) -> bool:
        """Whether all three are."""
        return all(target.is_met for target in self.targets)


def grouping(telemetry: Path) -> Grouping:
    """Group PetShop's alerts with the defaults of the product; an alert is of the issue whose change came before it."""
    events = read(telemetry, PETSHOP)
    starts = [fault.at - _CHANGE_BEFORE_SYMPTOM for fault in labels(telemetry, PETSHOP)]
    incidents = _incidents(events)
    problems = group(incidents, _observed(events).graph, hops=2, gap=timedelta(minutes=10))
    by_issue: dict[int, set[str]] = defaultdict(set)
    mixed = 0
    for problem in problems:
        issues = {bisect_right(starts, incident.first_seen) for incident in problem.incidents}
        mixed += len(issues) > 1
        for issue in issues:
            by_issue[issue].add(problem.problem_id)
    whole = sum(len(found) == 1 for found in by_issue.values())
    return Grouping(len(starts), len(incidents), len(problems), whole, mixed)


def _incidents(events: list[Event]) -> list[Incident]:
    return list(map(Incident.of, _incident_rows(events).values()))


def _incident_rows(events: list[Event]) -> dict[str, Event]:
    """One for each fingerprint and window of five minutes, as silver and gold make them, by id."""
    windows: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for event in events:
        if event["event_type"] == "alert":
            window = event["timestamp"].timestamp() // 300
            windows[event["application_id"], event.get("host"), event["alert_type"], window].append(event)
    return {repr(key): _incident_row(key, some) for key, some in windows.items()}


def _incident_row(key: tuple[Any, ...], alerts: list[Event]) -> Event:
    """What problems and their analysis read of a row of gold_incidents."""
    times = [alert["timestamp"] for alert in alerts]
    return {
        "incident_id": repr(key),
        "fingerprint": repr(key[:3]),
        **{name: alerts[-1].get(name) for name in ("application_id", "host", "alert_type", "threshold")},
        "severity": max((alert["severity"] for alert in alerts), key=SEVERITIES.index),
        "alert_count": len(alerts),
        "max_value": max((v for alert in alerts if (v := alert.get("current_value")) is not None), default=None),
        "first_seen_timestamp": min(times),
        "last_seen_timestamp": max(times),
    }


@dataclass(frozen=True)
class Noise:
    """How often the rules call something "noise" or "transient" that is none; the target is never."""

    name: str
    called: int
    of: int

    @property
    def target(self) -> Target:
        """That nothing is."""
        return Target("j", f'called "noise" or "transient", of {self.of} {self.name}', self.called, 0, unit="")


def noise(telemetry: Path) -> list[Noise]:
    """Analyse every problem of the labelled data, while it fires and when it is over.

    A labelled fault is called noise when one of its problems is, firing or over.
    """
    found: dict[tuple[str, int], bool] = {}
    firing: list[bool] = []
    all_faults = 0
    for name, *others in (*((day, f"dependencies-{day}") for day in DAYS), (PETSHOP,)):
        faults = list(labels(telemetry, name))
        all_faults += len(faults)
        starts = [fault.at - (_CHANGE_BEFORE_SYMPTOM if fault.symptom else timedelta()) for fault in faults]
        for problem, while_firing, when_over in _called_noise(read(telemetry, name, *others)):
            firing.append(while_firing)
            for incident in problem.incidents:
                number = bisect_right(starts, incident.first_seen) - 1
                # A day of Nezha has alerts without a fault too.
                if number >= 0 and (faults[number].symptom or incident.first_seen - starts[number] <= _OF_A_FAULT):
                    found[name, number] = found.get((name, number), False) or while_firing or when_over
    silent = f", {all_faults - len(found)} more raised no alert" if all_faults > len(found) else ""
    return [
        Noise(f"labelled faults with an alert{silent}", sum(found.values()), len(found)),
        Noise("problems that still fire", sum(firing), len(firing)),
    ]


def _called_noise(events: list[Event]) -> Iterator[tuple[Problem, bool, bool]]:
    """Each problem, and whether it is called noise while it fires and when it is over."""
    observed, rows = _observed(events), _incident_rows(events)
    for problem in group(_incidents(events), observed.graph, hops=2, gap=timedelta(minutes=10)):
        window = Window(problem.opened_at.timestamp(), problem.last_seen_at.timestamp())
        lookback = window.end - window.start + 3600
        evidence = Evidence(rank(observed, window, among=problem.applications, lookback_seconds=lookback), [])
        said = [
            _says_noise(row_of(problem, rows, over, evidence), [rows[one.incident_id] for one in problem.incidents])
            for over in (lambda _, __: None, lambda _, seen: seen)
        ]
        yield problem, said[0], said[1]


def _says_noise(problem: Event, incidents: list[Event]) -> bool:
    analysis = diagnose_problem(ProblemContext.from_gold_row(problem, incidents))
    said = (analysis.summary, analysis.root_cause, analysis.recommended_action, *analysis.patterns)
    return any(_NOISE.search(text) for text in said)


def _ask(observed: Observations, fault: Fault, later: timedelta = timedelta()) -> Ranking:
    at = (fault.at + later).timestamp()
    return rank(observed, Window(at, at), symptom=fault.symptom)


def _observed(events: list[Event]) -> Observations:
    return observe(events, log_minutes(events))


def _without_edges(events: list[Event], random: Random) -> list[Event]:
    """A fifth of the edges gone from the whole data set."""

    def edge(event: Event) -> tuple[str | None, ...]:
        return tuple(event.get(name) for name in ("application_id", "host", "depends_on", "depends_on_host"))

    edges = sorted({edge(event) for event in events if event["event_type"] == "dependency"}, key=str)
    gone = {one for one in edges if random.random() < _MISSING}
    return [event for event in events if event["event_type"] != "dependency" or edge(event) not in gone]


def _with_decoys(observed: Observations, faults: Iterable[Fault], random: Random) -> Observations:
    """Three changes of other applications in the hour before each fault."""
    changes = list(observed.changes)
    for fault in faults:
        others = sorted(observed.applications - {fault.application_id})
        for name in random.sample(others, _DECOYS):
            at = fault.at.timestamp() - random.uniform(0, 3600)
            changes.append(Change(name, at, "config_change", "decoy", "decoy"))
    return replace(observed, changes=sorted(changes, key=lambda change: change.at))


def read(telemetry: Path, *folders: str) -> list[Event]:
    """The events of some folders, as bronze has them."""
    return [event for folder in folders for event in _events(telemetry / folder)]


def _events(folder: Path) -> Iterator[Event]:
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                yield event | {"timestamp": datetime.fromisoformat(event["timestamp"])}


def labels(telemetry: Path, name: str) -> Iterator[Fault]:
    """The labelled faults of a data set."""
    for label in json.loads((telemetry / f"labels-{name}.json").read_text(encoding="utf-8")):
        if "inject_time" in label:
            at = datetime.fromisoformat(label["inject_time"])
            yield Fault(at, label["application_id"], label["host"], label["fault"])
        else:
            at = datetime.fromisoformat(label["symptom_at"])
            yield Fault(at, label["cause"], label["cause_host"], label["metric"], label["symptom"])


def markdown(figures: list[Figure], grouped: Grouping, counts: list[Noise]) -> str:
    """The figures as a table, and what became of the issues and what is called noise as sentences."""
    rows = [
        "| on | first | among three | of | first, % | target, first / three | Brier score | of the base rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    share: Callable[[float | None], str] = lambda target: "–" if target is None else f"{target:.0%}"  # noqa: E731
    for figure in figures:
        targets = f"{share(figure.target_first)} / {share(figure.target_three)}"
        rows.append(
            f"| {figure.name} | {figure.first} | {figure.three} | {figure.of} | {figure.first / figure.of:.0%} "
            f"| {targets}{'' if figure.is_met else ' **missed**'} | {figure.brier:.3f} | {figure.base_rate_brier:.3f} |"
        )
    said = (
        f"PetShop, grouping: {grouped.incidents} incidents of {grouped.issues} issues are {grouped.problems} problems; "
        f"{grouped.whole} issues are in one problem, {grouped.mixed} problems have incidents of two issues"
        f"{'' if grouped.is_met else ' (**missed**)'}."
    )
    called = [
        f'Called "noise" or "transient": {one.called} of {one.of} {one.name} (target 0)'
        f"{'' if one.target.is_met else ' (**missed**)'}."
        for one in counts
    ]
    return "\n".join([*rows, "", said, "", *called]) + "\n"


def targets(figures: list[Figure], grouped: Grouping, counts: list[Noise]) -> list[Target]:
    """What has a target, as `make bench` says it."""
    whole = next(figure for figure in figures if figure.name == ALL_KINDS)
    return [
        *(target for figure in figures for target in figure.targets),
        *grouped.targets,
        *(one.target for one in counts),
        Target("j", f"{whole.name}: Brier score over the base rate's", whole.brier / whole.base_rate_brier, 1),
    ]


def _share(name: str, hits: int, of: int, share: float) -> Target:
    # Rounded: 100 * 0.55 is more than 55, and 55 of 100 would miss it.
    return Target("j", f"{name}, {hits} of {of}", 100 * hits / of, round(100 * share, 9), at_least=True, unit="%")
