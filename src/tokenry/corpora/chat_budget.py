"""What an endpoint may be used for: time, tries, requests at a time, and a budget in requests, tokens and money.

A request goes only if the budget holds with the most it may cost, so what is billed stays within it unless a server
bills more than was asked for; that is counted, and ends the run at the next request.
"""

import threading
from dataclasses import dataclass

from tokenry.core.runs import log
from tokenry.corpora.chat import Usage

__all__ = ["BudgetError", "EndpointError", "Limits", "Meter", "limits_of"]

_SLACK_TOKENS = 512  # a server's own template may add so many to a prompt


class EndpointError(ConnectionError):
    """The endpoint cannot be used for anything more; what came before is kept."""


class BudgetError(EndpointError):
    """What was allowed is used up; what came before is kept."""


@dataclass(frozen=True)
class Limits:
    """How an endpoint may be used.

    Attributes:
        timeout: seconds for a whole exchange.
        retries: tries after the first, for what may pass: time-outs, lost connections, 408, 409, 425, 429, 5xx, answers
            that are no JSON.
        first_wait: seconds before the first of them; twice as long before each next one, with chance in it.
        most_wait: longest pause. A server that asks for a longer one stops the run.
        workers: requests at a time.
        requests: budget of this run in requests, tries included; None for no bound.
        tokens: budget in tokens, prompt and answer together, as billed.
        money: budget in the unit of the prices.
        prices: for a million prompt tokens and a million answer tokens.
        answer_bytes: an answer larger than this is given up.
        failures: so many conversations in a row without an answer stop the run.
    """

    timeout: float = 120.0
    retries: int = 5
    first_wait: float = 1.0
    most_wait: float = 120.0
    workers: int = 4
    requests: int | None = None
    tokens: int | None = None
    money: float | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    answer_bytes: int = 1 << 20
    failures: int = 10

    def __post_init__(self) -> None:
        for name, least in (("retries", 0), ("workers", 1), ("answer_bytes", 1), ("failures", 1), ("first_wait", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; need at least {least}.")
        if not self.timeout > 0 or min(self.prices) < 0:
            raise ValueError(f"timeout={self.timeout}, prices={self.prices}; need a time above 0, prices of 0 or more.")
        if self.money is not None and not any(self.prices):
            raise ValueError(f"a budget of {self.money} without prices; need what a million tokens cost (--price).")


def limits_of(
    requests: str | None, tokens: str | None, money: float | None, *, prices: tuple[float, float], **limits: object
) -> Limits:
    """Limits from what a user types: amounts such as 500, 10K, 5M."""
    from tokenry.corpora.choices import amount

    numbers = {name: int(amount(text)) for name, text in (("requests", requests), ("tokens", tokens)) if text}
    return Limits(**numbers, money=money, prices=prices, **limits)


class Meter:
    """Counts what is used, and lets a request go only if the budget holds with it."""

    def __init__(self, limits: Limits, usage: Usage) -> None:
        self.limits, self.usage = limits, usage
        self._change = threading.Condition()
        self._held = (0, 0)  # prompt and answer tokens of requests under way, at most
        self._in_a_row = 0

    def admit(self, n_bytes: int, max_tokens: int, *, again: bool) -> tuple[int, int]:
        """Reserve a request.

        Raises:
            BudgetError: there is no room for it.
        """
        limits, usage = self.limits, self.usage
        # No vocabulary cuts a byte in two, so this is the most a prompt can be.
        held = (n_bytes + _SLACK_TOKENS, max_tokens)
        with self._change:
            while not self._fits(held) and self._held != (0, 0):
                self._change.wait()
            used = usage.requests
            if limits.requests is not None and used >= limits.requests:
                raise BudgetError(self._spent(f"{used:,} of {limits.requests:,} requests"))
            if not self._fits(held):
                if limits.tokens is not None and usage.tokens + sum(held) > limits.tokens:
                    raise BudgetError(self._spent(f"{usage.tokens:,} of {limits.tokens:,} tokens", f"{sum(held):,}"))
                cost = f"{self._cost(held):.4g}"
                raise BudgetError(self._spent(f"{usage.money:.4g} of {limits.money:.4g}", cost))
            usage.requests += 1
            usage.retries += again
            self._held = (self._held[0] + held[0], self._held[1] + held[1])
        return held

    def settle(self, held: tuple[int, int], billed: tuple[int, int] | None, *, n_bytes: int, max_tokens: int) -> None:
        """Put what a request was billed in the place of what was reserved for it."""
        usage = self.usage
        with self._change:
            self._held = (self._held[0] - held[0], self._held[1] - held[1])
            usage.estimated += billed is None
            prompt, answer = (n_bytes // 3 + 1, max_tokens) if billed is None else billed
            if prompt > n_bytes + _SLACK_TOKENS or answer > max_tokens:
                usage.overbilled += 1
                if usage.overbilled == 1:
                    log(f"the endpoint bills {prompt:,} + {answer:,} tokens for {n_bytes:,} bytes and an answer of at "
                        f"most {max_tokens:,}; counted as billed")  # fmt: skip
            usage.prompt_tokens += prompt
            usage.completion_tokens += answer
            usage.money += self._cost((prompt, answer))
            self._change.notify_all()

    def because(self, reason: str) -> None:
        """Count why a try failed."""
        with self._change:
            self.usage.because(reason)

    def outcome(self, failure: str | None) -> None:
        """Note how a conversation ended.

        Raises:
            EndpointError: too many in a row failed.
        """
        with self._change:
            self._in_a_row = self._in_a_row + 1 if failure else 0
            if self._in_a_row >= self.limits.failures:
                raise EndpointError(
                    f"{self._in_a_row} questions in a row got no answer; the last: {failure}. See that the endpoint "
                    "works, and run the same command again: answers that came are kept."
                )

    def _fits(self, more: tuple[int, int]) -> bool:
        limits, usage = self.limits, self.usage
        held = (self._held[0] + more[0], self._held[1] + more[1])
        if limits.tokens is not None and usage.tokens + sum(held) > limits.tokens:
            return False
        return limits.money is None or usage.money + self._cost(held) <= limits.money

    def _cost(self, tokens: tuple[int, int]) -> float:
        return sum(price * number for price, number in zip(self.limits.prices, tokens, strict=True)) / 1e6

    def _spent(self, what: str, most: str = "1") -> str:
        return (
            f"the budget is spent: {what} are used, and the next request may take up to {most}. Answers that came are "
            "kept: run the same command again with a new budget."
        )
