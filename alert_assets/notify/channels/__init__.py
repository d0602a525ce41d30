"""The ways to reach people: a module per service, its settings beside the channel."""
