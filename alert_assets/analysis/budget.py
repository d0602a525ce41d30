"""The token budget of one run."""

from __future__ import annotations

import asyncio

from alert_assets.analysis.analyst import BudgetExhausted


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, cautiously: three UTF-8 bytes a token, where English prose has about four."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


class TokenBudget:
    """Tokens that may be spent, those that are, and those set aside for requests in flight.

    A request sets aside the most it may cost and settles for what it did cost, so the sum never
    passes the limit as long as estimates hold.
    """

    def __init__(self, limit: int) -> None:
        """Start with `limit` tokens that may be spent."""
        self._limit = limit
        self._spent = 0
        self._reserved = 0
        self._changed = asyncio.Condition()

    @property
    def spent(self) -> int:
        """Tokens settled so far."""
        return self._spent

    async def reserve(self, tokens: int) -> None:
        """Set `tokens` aside; waits while requests in flight may still give enough of theirs back.

        Raises:
            BudgetExhausted: they will not fit.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(tokens) or self._never_fits(tokens))
            if not self._fits(tokens):
                raise BudgetExhausted(
                    f"{tokens} tokens needed, {max(self._limit - self._spent, 0)} of {self._limit} left in this run"
                )
            self._reserved += tokens

    async def settle(self, reserved: int, spent: int) -> None:
        """Give back what was set aside, and book what was spent."""
        async with self._changed:
            self._reserved -= reserved
            self._spent += spent
            self._changed.notify_all()

    def _fits(self, tokens: int) -> bool:
        return self._spent + self._reserved + tokens <= self._limit

    def _never_fits(self, tokens: int) -> bool:
        return self._spent + tokens > self._limit
