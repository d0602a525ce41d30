"""Which application causes a problem: the excess over usual values, followed along calls to where it arises.

What breaks is seldom what hurts: a slow database shows first in the shop window three calls above it. So each
series is compared with its own past (:mod:`.baselines`), and what an application loses beyond that is blamed on what
it calls as far as that explains it (:mod:`.ranking`). The rules in words are in docs/causes.md.

Everything here is pure: events in, ranking out, no clock and no storage. The order of events and redeliveries
change nothing.
"""

from alert_assets.analysis.causes.baselines import Window
from alert_assets.analysis.causes.graph import Edge, Graph, Node
from alert_assets.analysis.causes.observations import LogMinute, Observations, log_minutes, observe
from alert_assets.analysis.causes.ranking import Cause, Ranking, rank

__all__ = [
    "Cause",
    "Edge",
    "Graph",
    "LogMinute",
    "Node",
    "Observations",
    "Ranking",
    "Window",
    "log_minutes",
    "observe",
    "rank",
]
