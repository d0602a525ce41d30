"""Jobs of one op: what a command of `alert-assets` does, to be launched from the UI.

No `from __future__ import annotations`: Dagster reads the annotations of what becomes an op.
"""

from collections.abc import Callable
from enum import Enum
from inspect import Signature, signature
from typing import Any, get_origin

import dagster as dg

from alert_assets.errors import UserError


def operator_job(op: str) -> Callable[[Callable[..., str]], dg.JobDefinition]:
    """A job of one op, named and described as the function that the op becomes.

    The function takes a `dg.Config` named `config` and resources, and returns a sentence that is logged. What it
    raises about its input fails the run with that message alone. The launchpad opens with every field of the config:
    its default, the first of an enum, or an empty value to fill in.

    The job brings an executor of its own: the gate never stands before the way to open it, and an alert can be
    acknowledged while runs are refused.
    """

    def decorate(do: Callable[..., str]) -> dg.JobDefinition:
        def run(context: dg.OpExecutionContext, **inputs: Any) -> None:
            try:
                context.log.info(do(**inputs))
            except (UserError, ValueError) as error:
                raise dg.Failure(str(error), allow_retries=False) from None

        # Dagster reads from the signature what an op is configured by and which resources it takes.
        takes = signature(do).parameters
        run.__signature__ = Signature([signature(run).parameters["context"], *takes.values()])  # type: ignore[attr-defined]
        return dg.GraphDefinition(do.__name__, node_defs=[dg.op(name=op)(run)]).to_job(
            description=do.__doc__,
            executor_def=dg.in_process_executor,
            config={"ops": {op: {"config": _prefilled(takes["config"].annotation)}}},
        )

    return decorate


def _prefilled(config: type[dg.Config]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        kind: Any = get_origin(field.annotation) or field.annotation
        if not field.is_required():
            values[name] = field.get_default(call_default_factory=True)
        else:
            values[name] = next(iter(kind)).name if issubclass(kind, Enum) else kind()
    return values
