"""What stands between an episode that has news and the people who are notified: one stage, one file."""
