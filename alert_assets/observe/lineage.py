"""OpenLineage events of runs, their steps, and the resident process: what was read, what was written, by which columns.

On where OpenLineage's own variables say so (`OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG`, `OPENLINEAGE__...`) and the extra
`lineage` is installed; off, nothing of it is imported. Events are made and sent by a thread of their own: a catalog
that hangs or fails costs a run no more than :data:`_DRAIN_SECONDS` at its end, and events that find the queue full are
dropped. Texts of errors are masked like any that leaves the lake.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alert_assets.breaker.dagster_internals import assets_of_step, cause_of, materialized, metadata_value
from alert_assets.contracts import ALL_CONTRACTS, EVENT
from alert_assets.contracts.columns import simple_string
from alert_assets.contracts.lineage import ROWS, ColumnRef, Lineage
from alert_assets.contracts.masking import masked
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.logs import run_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import dagster as dg
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

    from alert_assets.checks.evaluate import Evaluation
    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings
    from alert_assets.stream.tally import Numbers

#: Events that wait to be sent; more are dropped.
_MOST_WAITING = 1_000
#: How long the end of a run waits for its events to be sent.
_DRAIN_SECONDS = 2.0
_PRODUCER = f"urn:alert-assets:{version('alert-assets')}"


@dataclass(frozen=True)
class Checked:
    """What a check found, as a catalog shows it."""

    name: str
    passed: bool
    severity: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table that was read or written, as it was then.

    Attributes:
        delta_version: None where it is not known.
        row_count: of the table, once it is written.
    """

    contract: Contract
    delta_version: int | None = None
    row_count: int | None = None
    checked: tuple[Checked, ...] = ()


@dataclass(frozen=True)
class Happened:
    """One event, before it is in OpenLineage's words.

    Attributes:
        state: START, COMPLETE or FAIL.
        run: its id, a UUID.
        parent: job and id of the run that it is a part of.
    """

    state: str
    run: str
    job: str
    at: datetime
    inputs: tuple[Table, ...] = ()
    outputs: tuple[Table, ...] = ()
    parent: tuple[str, str] | None = None
    error: str | None = None


class Emitter:
    """Sends events, in order, from a thread of its own."""

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        """Begin nothing: the thread and the client come with the first event.

        Args:
            log: told once what keeps events from being sent, until one is sent again.
        """
        self._words = Words(settings)
        self._log, self._said = log, ""
        self._waiting: queue.Queue[Happened] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def send(self, happened: Happened) -> None:
        """Have an event sent; one that finds the queue full is dropped."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="alert-assets-lineage", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(happened)
        except queue.Full:
            self._say(f"{_MOST_WAITING:,} lineage events wait to be sent, and this one is dropped.")

    def drain(self, seconds: float = _DRAIN_SECONDS) -> bool:
        """Wait until every event is sent, but no longer than this; returns whether they are."""
        until = time.monotonic() + seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := until - time.monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)
            return not self._waiting.unfinished_tasks

    def _work(self) -> None:
        client: Any = None
        while True:
            happened = self._waiting.get()
            try:
                if client is None:
                    from openlineage.client import OpenLineageClient

                    client = OpenLineageClient()
                client.emit(self._words.event(happened))
                self._said = ""
            except ImportError:
                self._say(
                    "OPENLINEAGE_URL or OPENLINEAGE_CONFIG is set, but no lineage is sent: install the extra, "
                    "pip install 'alert-assets[lineage]'."
                )
            except Exception as error:  # noqa: BLE001  a catalog that is gone holds up no run
                self._say(f"A lineage event could not be sent: {type(error).__name__}: {masked(str(error))[:300]}")
            finally:
                self._waiting.task_done()

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._log(text)


class Words:
    """What happened in OpenLineage's words."""

    def __init__(self, settings: Settings) -> None:
        """Keep what names jobs and tables."""
        self.namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or "alert_assets"
        self._settings = settings
        self._lineage = Lineage(settings.dedup_fields)

    def event(self, happened: Happened) -> RunEvent:
        """An event with all its facets."""
        from openlineage.client import event_v2 as ol
        from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run

        facets: dict[str, Any] = {}
        if happened.parent is not None:
            job, run = happened.parent
            facets["parent"] = parent_run.ParentRunFacet(
                run=parent_run.Run(runId=run), job=parent_run.Job(self.namespace, job), producer=_PRODUCER
            )
        if happened.error is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                masked(happened.error)[:2_000], "PYTHON", producer=_PRODUCER
            )
        kind = job_type_job.JobTypeJobFacet(
            "BATCH", "DAGSTER", "TASK" if happened.parent else "JOB", producer=_PRODUCER
        )
        return ol.RunEvent(
            eventType=ol.RunState(happened.state),
            eventTime=happened.at.astimezone(UTC).isoformat(timespec="microseconds"),
            run=ol.Run(happened.run, facets),
            job=ol.Job(self.namespace, happened.job, {"jobType": kind}),
            inputs=[self._input(table) for table in happened.inputs],
            outputs=[self._output(table) for table in happened.outputs],
            producer=_PRODUCER,
        )

    def _input(self, table: Table) -> InputDataset:
        from openlineage.client.event_v2 import InputDataset
        from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

        assertions = [
            quality.Assertion(
                assertion=one.name,
                success=one.passed,
                name=one.name,
                severity=one.severity,
                description=masked(one.description)[:1_000],
            )
            for one in table.checked
        ]
        found = quality.DataQualityAssertionsDatasetFacet(assertions, producer=_PRODUCER)
        return InputDataset(
            *self._name(table.contract),
            inputFacets={"dataQualityAssertions": found} if assertions else {},
            facets=self._facets(table),
        )

    def _output(self, table: Table) -> OutputDataset:
        from openlineage.client.event_v2 import OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

        counted = statistics.OutputStatisticsOutputDatasetFacet(rowCount=table.row_count, producer=_PRODUCER)
        return OutputDataset(
            *self._name(table.contract),
            outputFacets={} if table.row_count is None else {"outputStatistics": counted},
            facets={**self._facets(table), "columnLineage": self._columns(table.contract)},
        )

    def _facets(self, table: Table) -> dict[str, Any]:
        from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

        fields = [
            schema_dataset.SchemaDatasetFacetFields(name, simple_string(column.type), column.description)
            for name, column in table.contract.columns.items()
        ]
        facets: dict[str, Any] = {"schema": schema_dataset.SchemaDatasetFacet(fields, producer=_PRODUCER)}
        if table.delta_version is not None:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
                str(table.delta_version), producer=_PRODUCER
            )
        return facets

    def _columns(self, contract: Contract) -> Any:
        from openlineage.client.facet_v2 import column_lineage_dataset as columns

        def field_of(ref: ColumnRef, kind: str, subtype: str) -> Any:
            return columns.InputField(
                *self._name(ALL_CONTRACTS[ref.table]), ref.column, [columns.Transformation(kind, subtype)]
            )

        edges = self._lineage.edges[contract.name]
        fields: dict[str, Any] = {}
        for name in contract.columns:
            of_column = [edge for edge in edges if edge.target.column == name]
            if of_column:
                fields[name] = columns.Fields(
                    [
                        field_of(edge.source, *(("DIRECT", "TRANSFORMATION") if edge.how == "value" else _CHOSEN))
                        for edge in of_column
                    ]
                )
        rows = [edge.source for edge in edges if edge.how == "rows" and edge.source.column != ROWS]
        return columns.ColumnLineageDatasetFacet(fields, [field_of(ref, *_CHOSEN) for ref in rows], producer=_PRODUCER)

    def _name(self, contract: Contract) -> tuple[str, str]:
        """Namespace and name of a table, as OpenLineage's specification has them for files and object stores."""
        place = self._settings.landing_dir if contract is EVENT else f"{self._settings.lake_dir}/{contract.name}"
        url = urlsplit(place)
        if "://" not in place or url.scheme == "file":
            return "file", str(Path(url.path if url.scheme == "file" else place).absolute())
        # Credentials stay here.
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}", url.path.strip("/")


_CHOSEN = ("INDIRECT", "FILTER")


@dataclass
class RunListener:
    """Follows one run of Dagster's and says what happens in it."""

    emitter: Emitter
    lakehouse: Lakehouse
    run: str
    job: str
    _inputs: dict[str, tuple[Table, ...]] = field(default_factory=dict)
    _outputs: dict[str, list[Table]] = field(default_factory=dict)
    _checked: dict[str, dict[str, list[Checked]]] = field(default_factory=dict)
    _failed: str | None = None

    def begin(self) -> None:
        """Say that the run begins."""
        self._send("START", self.run, self.job)

    def see(self, plan_context: Any, event: dg.DagsterEvent) -> None:
        """Take note of a step's event."""
        step = event.step_key
        if step is None:
            return
        if event.is_step_start:
            names = [key.to_user_string() for key in assets_of_step(plan_context, event)]
            self._inputs[step] = read_by(self.lakehouse, names)
            self._step("START", step)
        elif (key := materialized(event)) is not None and key.to_user_string() in ALL_CONTRACTS:
            version, rows = metadata_value(event, "delta_version"), metadata_value(event, "dagster/row_count")
            # A table that is not there yet is at version -1.
            known = version if version is not None and version >= 0 else None
            self._outputs.setdefault(step, []).append(Table(ALL_CONTRACTS[key.to_user_string()], known, rows))
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            done = event.asset_check_evaluation_data
            found = Checked(done.check_name, done.passed, done.severity.value.lower(), done.description or "")
            by_table = self._checked.setdefault(step, {})
            by_table.setdefault(done.asset_key.to_user_string(), []).append(found)
        elif event.is_step_success:
            self._step("COMPLETE", step)
        elif event.is_step_failure:
            self._failed = self._failed or cause_of(event)
            self._step("FAIL", step, cause_of(event))

    def end(self, error: BaseException | None) -> None:
        """Say how the run ended, and wait a moment until that is known outside."""
        said = f"{type(error).__name__}: {error}" if error is not None else self._failed
        self._send("COMPLETE" if said is None else "FAIL", self.run, self.job, error=said)
        if not self.emitter.drain():
            run_log(self.run).warning("lineage_not_sent", waited_seconds=_DRAIN_SECONDS)

    def _step(self, state: str, step: str, error: str | None = None) -> None:
        outputs = tuple(self._outputs.get(step, ()))
        checked = self._checked.get(step, {})
        # A step of checks reads the tables that it judges.
        judged = tuple(
            Table(ALL_CONTRACTS[name], version_of(self.lakehouse, ALL_CONTRACTS[name]), checked=tuple(found))
            for name, found in checked.items()
            if name in ALL_CONTRACTS
        )
        inputs = tuple(one for one in self._inputs.get(step, ()) if one.contract.name not in checked)
        run = str(uuid.uuid5(uuid.UUID(self.run), step))
        tables = {"inputs": (*inputs, *judged), "outputs": outputs}
        self._send(state, run, f"{self.job}.{step}", **tables, parent=(self.job, self.run), error=error)

    def _send(self, state: str, run: str, job: str, **more: Any) -> None:
        self.emitter.send(Happened(state, run, job, utc_now(), **more))


def read_by(lakehouse: Lakehouse, names: Iterable[str]) -> tuple[Table, ...]:
    """The tables that these are made of, as they are now."""
    contracts = [ALL_CONTRACTS[name] for name in names if name in ALL_CONTRACTS]
    above = dict.fromkeys(
        before
        for contract in contracts
        for before in (*contract.derived_from, *([EVENT] if contract.name in _LANDED else []))
    )
    return tuple(Table(before, version_of(lakehouse, before)) for before in above)


#: Tables that are filled from the landing zone.
_LANDED = ("bronze_events", "bronze_quarantine", "bronze_held")


def version_of(lakehouse: Lakehouse, contract: Contract) -> int | None:
    """The Delta version of a table; None for what is none, is not there, or cannot be read."""
    if contract is EVENT:
        return None
    try:
        found = lakehouse.snapshot(contract).version
    except Exception:  # noqa: BLE001  who writes it says why
        return None
    return found if found >= 0 else None


class StreamReports:
    """Says once a minute what the resident process has done: a run of the job `stream`, a step a table."""

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        """Keep the settings; the first stretch begins now."""
        self._emitter, self._lakehouse = Emitter(settings, log), Lakehouse(settings)
        self._since = utc_now()

    def __call__(self, run_id: str, numbers: Numbers, checked: Mapping[str, Sequence[Evaluation]]) -> None:
        """Send what came into tables since the last time, and what their checks found."""
        job, _, run = run_id.partition("/")
        began, self._since = self._since, utc_now()
        steps = [self._step(run, job, name, checked.get(name, ())) for name in numbers]
        self._emitter.send(Happened("START", run, job, began))
        for step in steps:
            self._emitter.send(replace(step, state="START", at=began, outputs=(), inputs=()))
            self._emitter.send(step)
        self._emitter.send(Happened("COMPLETE", run, job, self._since))
        self._emitter.drain()

    def _step(self, run: str, job: str, name: str, evaluations: Sequence[Evaluation]) -> Happened:
        contract, snapshot = ALL_CONTRACTS[name], self._lakehouse.snapshot(ALL_CONTRACTS[name])
        found = tuple(
            Checked(one.check.name, one.finding.passed, one.severity.lower(), one.finding.description)
            for one in evaluations
            if not one.skipped
        )
        judged = (Table(contract, snapshot.version, checked=found),) if found else ()
        return Happened(
            "COMPLETE",
            str(uuid.uuid5(uuid.UUID(run), name)),
            f"{job}.{name}",
            self._since,
            (*read_by(self._lakehouse, [name]), *judged),
            (Table(contract, snapshot.version, snapshot.row_count),),
            parent=(job, run),
        )
