"""What a user can put right. The command line shows it as one line; anything else is a bug."""

from __future__ import annotations


class UserError(Exception):
    """The message names the thing, its value, the rule and the next step."""
