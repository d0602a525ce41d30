"""The topology file: what it says, and what is said of one that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts.topology import TopologyError, read_topology

if TYPE_CHECKING:
    from pathlib import Path


def test_calls_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("calls:\n  storefront: [cart, search]\n  cart: [ledger]\n")
    assert read_topology(file) == [("storefront", "cart"), ("storefront", "search"), ("cart", "ledger")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("calls:\n  web: cart\n", "2: calls.web is 'cart': input should be a valid list"),
        ("calls:\n  web: [7]\n", "2: calls.web[0] is 7: input should be a valid string"),
        ("calls:\n  web: ['']\n", "2: calls.web[0] is ''"),
        ("calls:\n  web: [db]\n  web: [cart]\n", "3: web is there twice"),
        ("calls:\n  web: [web]\n", "2: calls.web[0] is 'web': an application does not call itself"),
        ("edges: []\n", "1: edges is []: extra inputs are not permitted"),
        ("", "one document, this has 0"),
        ("calls: [", "this is no YAML"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError) as raised:
        read_topology(file)
    assert says in str(raised.value)
    assert "storefront: [cart, search]" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"There is no topology file .* \(ALERTS_TOPOLOGY_FILE\)"):
        read_topology(tmp_path / "none.yaml")
