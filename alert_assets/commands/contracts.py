"""`alert-assets contracts`: what the tables and the landing event promise, and whom a change breaks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import ALL_CONTRACTS, Contract
from alert_assets.errors import UserError

if TYPE_CHECKING:
    from alert_assets.contracts.diff import ContractDiff
    from alert_assets.contracts.odcs_file import Document

app = typer.Typer(add_completion=False, no_args_is_help=True)

#: OLD begins with it where a schema registry is asked.
_REGISTRY = "registry:"

#: Rules that the column "Required" shows, and the one that all numbers have.
_SHOWN = {"not_null", "not_blank", "finite"}


@app.callback()
def contracts() -> None:
    """Contracts: list them, show one, export them for consumers, compare two versions."""


@app.command("list", epilog="Example: alert-assets contracts list --json")
def list_contracts(as_json: JsonOption = False) -> None:
    """List the contracts: owner, consumers, freshness, and which columns may hold personal data."""
    facts = [_facts(contract) for contract in ALL_CONTRACTS.values()]
    if as_json:
        return output.print_json({"contracts": facts})
    table = output.rows(
        *("Contract", "Version", "Owner", "Consumers", "Fresh within", "Columns", "PII"),
        right=("Columns",),
        keep=("Contract", "Fresh within"),
    )
    for fact in facts:
        table.add_row(
            fact["name"],
            fact["version"],
            fact["owner"],
            "\n".join(fact["consumers"]),
            f"{fact['freshness_minutes']} min",
            str(len(fact["columns"])),
            ", ".join(fact["pii_columns"]) or "-",
        )
    return output.Output().table(table)


@app.command(epilog="Example: alert-assets contracts show gold_incidents")
def show(
    name: Annotated[str, typer.Argument(help="Contract, e.g. event or gold_incidents.")], as_json: JsonOption = False
) -> None:
    """Show one contract in full: key, service levels, columns and their rules."""
    contract = _contract(name)
    if as_json:
        from alert_assets.contracts.odcs import to_odcs

        return output.print_json(to_odcs(contract, _location(contract)))
    out = output.Output()
    out.prose(f"{contract.name} {contract.version}.0.0", contract.description, "")
    volume = contract.volume
    available = contract.availability_percent
    repeats = "" if contract.unique_key else " (a redelivery repeats it)"
    out.table(
        output.facts(
            [
                ("Direction", "input: producers write it" if contract.direction == "input" else "output: it is read"),
                ("Owner", contract.owner),
                ("Consumers", ", ".join(contract.consumers)),
                ("Key", ", ".join(contract.key) + repeats if contract.key else None),
                ("Fresh within", f"{contract.freshness_minutes} min"),
                ("Available", None if available is None else f"{available:g} % of the time"),
                ("Rows per commit", f"{volume.min_rows:,} to {volume.max_rows:,}"),
            ]
        )
    )
    typer.echo()
    return out.table(_columns(contract))


@app.command(epilog="Example: alert-assets contracts export --output contracts/")
def export(
    names: Annotated[list[str] | None, typer.Argument(help="Contracts; default: all.")] = None,
    output_folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for NAME.odcs.yaml; default, for one: stdout.")
    ] = None,
) -> None:
    """Write contracts as Open Data Contract Standard 3.1 YAML, the same bytes for the same contract."""
    from alert_assets.contracts.odcs import SUFFIX, to_odcs, to_yaml

    chosen = [_contract(name) for name in names or ALL_CONTRACTS]
    if output_folder is None:
        if len(chosen) > 1:
            raise UserError(
                f"{len(chosen)} contracts do not go to stdout in one: name one, or a folder with --output FOLDER."
            )
        return typer.echo(to_yaml(to_odcs(chosen[0], _location(chosen[0]))), nl=False)
    output_folder.mkdir(parents=True, exist_ok=True)
    for contract in chosen:
        text = to_yaml(to_odcs(contract, _location(contract)))
        (output_folder / f"{contract.name}{SUFFIX}").write_text(text, encoding="utf-8", newline="\n")
    return output.say(f"{output.count(len(chosen), 'contract')} written to {output.line(output_folder)}.")


@app.command(epilog="Example, in CI: alert-assets contracts diff contracts/")
def diff(
    old: Annotated[
        str,
        typer.Argument(help="A file, a folder, the name of a contract of this version, or registry:SUBJECT."),
    ],
    new: Annotated[
        str | None, typer.Argument(help="As OLD; default: what this version of alert-assets has in its place.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions of a contract, or of a folder of them. Exit 1 on a breaking change.

    registry:SUBJECT asks the registry of ALERTS_SCHEMA_REGISTRY_URL; NEW is then a contract of this version.
    """
    if old.startswith(_REGISTRY):
        return _ask_registry(old.removeprefix(_REGISTRY), new, as_json)
    diffs = _diffs(old, new)
    breaking = sum(change.is_breaking for found in diffs for change in found.changes)
    unversioned = [found for found in diffs if found.lacks_new_version]
    if as_json:
        output.print_json(
            {
                "breaking": breaking,
                "contracts_without_new_version": [found.contract for found in unversioned],
                "contracts": [_as_json(found) for found in diffs],
            }
        )
    else:
        _print(diffs, breaking, unversioned)
    if breaking:
        raise typer.Exit(1)
    return None


def _ask_registry(subject: str, name: str | None, as_json: bool) -> None:
    from alert_assets.contracts.registry import ask_registry
    from alert_assets.settings import load_settings

    url = load_settings().schema_registry_url.get_secret_value()
    if not url:
        raise UserError(
            f"`contracts diff {_REGISTRY}{subject}` needs ALERTS_SCHEMA_REGISTRY_URL, e.g. http://registry:8081."
        )
    contract = _contract(name or subject.removesuffix("-value"))
    answer = ask_registry(url, subject, contract)
    if as_json:
        output.print_json({"contract": contract.name, **asdict(answer)})
    elif answer.version is None:
        output.say(f"The registry has no schema of {output.line(subject)} yet, so {contract.name} breaks nobody.")
    elif answer.is_compatible:
        output.say(f"{contract.name} is compatible with version {answer.version} of {output.line(subject)}.")
    else:
        output.say(f"{contract.name} is not compatible with version {answer.version} of {output.line(subject)}:")
        for message in answer.messages:
            output.say(f"  {output.line(message)}")
    if not answer.is_compatible:
        raise typer.Exit(1)


def _facts(contract: Contract) -> dict[str, Any]:
    columns = contract.columns
    return {
        "name": contract.name,
        "version": f"{contract.version}.0.0",
        "description": contract.description,
        "direction": contract.direction,
        "owner": contract.owner,
        "consumers": list(contract.consumers),
        "key": list(contract.key),
        "freshness_minutes": contract.freshness_minutes,
        "availability_percent": contract.availability_percent,
        "columns": list(columns),
        "pii_columns": list(contract.columns_with("pii")),
    }


def _columns(contract: Contract) -> Any:
    from alert_assets.contracts.columns import simple_string

    table = output.rows("Column", "Type", "Required", "Rules", "PII", "Description", keep=("Column",))
    for name, column in contract.columns.items():
        texts = [rule.description.removeprefix(f"{name} ") for rule in column.rules if rule.kind not in _SHOWN]
        for_types = column.metadata.get("required_for", ())
        table.add_row(
            name,
            simple_string(column.type),
            "yes" if not column.nullable else f"for {', '.join(for_types)}" if for_types else "-",
            "; ".join(texts) or "-",
            ", ".join(column.metadata.get("masking", ())) or "yes" if column.metadata.get("pii") else "-",
            column.description or "-",
        )
    return table


def _contract(name: str) -> Contract:
    if name not in ALL_CONTRACTS:
        raise UserError(f"{name!r} is no contract; there are {', '.join(ALL_CONTRACTS)}.")
    return ALL_CONTRACTS[name]


def _location(contract: Contract) -> str:
    from alert_assets.settings import load_settings

    settings = load_settings()
    return settings.landing_dir if contract.direction == "input" else f"{settings.lake_dir}/{contract.name}"


def _diffs(old: str, new: str | None) -> list[ContractDiff]:
    from alert_assets.contracts.diff import diff as compare
    from alert_assets.contracts.diff import diff_folders
    from alert_assets.contracts.odcs_file import of_contract, read_folder

    if Path(old).is_dir():
        if new is not None and not Path(new).is_dir():
            raise UserError(f"{old} is a folder and {new} is none: compare two folders, or two contracts.")
        ours = {document.id: document for document in map(of_contract, ALL_CONTRACTS.values())}
        return diff_folders(read_folder(Path(old)), ours if new is None else read_folder(Path(new)))
    if new is not None and Path(new).is_dir():
        raise UserError(f"{new} is a folder and {old} is none: compare two folders, or two contracts.")
    before = _document(old)
    if new is not None:
        return [compare(before, _document(new))]
    if before.title not in ALL_CONTRACTS:
        raise UserError(
            f"{old} is the contract {before.title!r}, and this version of alert-assets has only "
            f"{', '.join(ALL_CONTRACTS)}: say what to compare it with, as NEW."
        )
    return [compare(before, of_contract(ALL_CONTRACTS[before.title]))]


def _document(given: str) -> Document:
    """A contract by the path of its file or by its name; a file of that name comes first."""
    from alert_assets.contracts.odcs_file import of_contract, read_file

    if Path(given).is_file():
        return read_file(Path(given))
    if given in ALL_CONTRACTS:
        return of_contract(ALL_CONTRACTS[given])
    raise UserError(
        f"{given!r} is neither a file or folder nor a contract ({', '.join(ALL_CONTRACTS)}). "
        "`alert-assets contracts export` writes files."
    )


def _as_json(found: ContractDiff) -> dict[str, Any]:
    return {
        "contract": found.contract,
        "old_version": found.old_version,
        "new_version": found.new_version,
        "breaking": found.is_breaking,
        "lacks_new_version": found.lacks_new_version,
        "changes": [asdict(change) | {"breaking": change.is_breaking} for change in found.changes],
    }


def _print(diffs: list[ContractDiff], breaking: int, unversioned: list[ContractDiff]) -> None:
    changes = [change for found in diffs for change in found.changes]
    if not changes:
        return output.say(f"No change in {output.count(len(diffs), 'contract')}.")
    out = output.Output()
    table = output.rows(
        *("Contract", "Column", "Change", "Was", "Is", "Breaks", *(["Why"] if out.is_wide else [])), keep=("Breaks",)
    )
    for change in sorted(changes, key=lambda change: not change.is_breaking):
        table.add_row(
            output.line(change.contract),
            output.line(change.column),
            output.line(change.what),
            output.line(change.was, 300),
            output.line(change.now, 300),
            " and ".join(change.breaks) or "-",
            *([change.why] if out.is_wide else []),
        )
    out.table(table)
    output.say(f"\n{output.count(len(changes), 'change')}, {breaking:,} breaking.")
    for found in unversioned:
        output.say(
            f"{output.line(found.contract)} has a breaking change, but its version was "
            f"{output.line(found.old_version)} and is {output.line(found.new_version)}: "
            "raise the first number (`version` in contracts/catalog.py)."
        )
    return None
