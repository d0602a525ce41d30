"""The checks of each table, as its entry in the catalog names them; Dagster need not be imported to evaluate them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from alert_assets.contracts import ALL_CONTRACTS, Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alert_assets.checks.check import Check


def _named(path: str) -> Callable[[], list[Check]]:
    module, _, name = path.partition(":")
    found: Callable[[], list[Check]] = getattr(import_module(module), name)
    return found


#: The checks of each table, by its name.
CHECKS: Mapping[str, tuple[Contract, Callable[[], list[Check]]]] = {
    contract.name: (contract, _named(contract.checks)) for contract in ALL_CONTRACTS.values() if contract.checks
}
