"""What an incident means and what to do about it: the analysts, and the runner that asks them."""
