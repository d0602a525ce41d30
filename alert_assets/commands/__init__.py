"""The commands of `alert-assets`, one module each. A module is imported when its command is used.

None imports Spark, Dagster or pandas: they read the Delta log and small tables with delta-rs. The one
exception is `quarantine replay`, once it has lines to judge.
"""
