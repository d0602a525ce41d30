"""Who calls whom, and which nodes are known by their hosts."""

from __future__ import annotations

from alert_assets.analysis.causes import Edge, Graph, Node


def applications(*pairs: tuple[str, str]) -> Graph:
    return Graph.of(Edge(Node(caller), Node(callee)) for caller, callee in pairs)


def test_downstream_follows_calls_and_connected_both_ways() -> None:
    graph = applications(("web", "cart"), ("cart", "db"), ("report", "db"), ("lone", "other"))
    assert graph.downstream("cart") == {"cart", "db"}
    assert graph.connected("cart") == {"web", "cart", "db", "report"}
    assert graph.downstream("unheard of") == {"unheard of"}


def test_circles_end() -> None:
    graph = applications(("a", "b"), ("b", "c"), ("c", "a"), ("a", "a"))
    assert graph.downstream("b") == graph.connected("b") == {"a", "b", "c"}
    assert Edge(Node("a"), Node("a")) not in graph.edges


def test_hosts_are_nodes_only_where_every_edge_names_one() -> None:
    graph = Graph.of(
        [
            Edge(Node("web", "web-1"), Node("cart", "cart-1")),
            Edge(Node("web", "web-2"), Node("cart")),
            Edge(Node("cart", "cart-2"), Node("db", "db-1")),
        ]
    )
    assert graph.nodes == {Node("web", "web-1"), Node("web", "web-2"), Node("cart"), Node("db", "db-1")}
    assert graph.node("web", "web-1") == Node("web", "web-1")
    assert graph.node("web", "web-9") == Node("web")
    assert graph.node("cart", "cart-1") == Node("cart")


def test_parts_of_an_application_call_each_other_and_no_other_application() -> None:
    graph = Graph.of(
        [Edge(Node("web", "w"), Node("fn", "entry")), Edge(Node("fn", "entry"), Node("fn", "code"))],
    )
    assert graph.callees[Node("fn", "entry")] == {Node("fn", "code")}
    assert graph.callers[Node("fn", "code")] == {Node("fn", "entry")}
    assert graph.called_applications == {"web": {"fn"}}
    assert graph.calling_applications == {"fn": {"web"}}
