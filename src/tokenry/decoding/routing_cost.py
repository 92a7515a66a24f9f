"""What routed texts cost, in forward passes and in parameters activated or multiplied for a token.

Paper: R2R (arXiv 2505.21600), section 5 (average activated parameters per token).
"""

from dataclasses import dataclass


@dataclass
class RoutingCost:
    """What routed texts cost.

    Attributes:
        n_tokens: tokens written.
        n_large: those the large model wrote.
        n_scored: those the small model proposed and a router scored.
        small_forwards, large_forwards: forward passes, each over all rows of a batch.
        small_positions, large_positions: tokens run through each model, prompts included.
        small_parameters, large_parameters, router_parameters: of the models; 0 while unknown.
        seconds: of the clock.
    """

    n_tokens: int = 0
    n_large: int = 0
    n_scored: int = 0
    small_forwards: int = 0
    large_forwards: int = 0
    small_positions: int = 0
    large_positions: int = 0
    small_parameters: int = 0
    large_parameters: int = 0
    router_parameters: int = 0
    seconds: float = 0.0

    @property
    def large_share(self) -> float:
        """Tokens the large model wrote, of all."""
        return self.n_large / self.n_tokens if self.n_tokens else 0.0

    @property
    def activated_parameters(self) -> float:
        """Parameters activated a token, the paper's measure: small and router where they ran, large where it wrote.

        What bounds the time of a single text on a device limited by memory traffic, where a short catch-up costs about
        what one token does.
        """
        parts = self.n_scored * (self.small_parameters + self.router_parameters) + self.n_large * self.large_parameters
        return parts / self.n_tokens if self.n_tokens else 0.0

    @property
    def multiplied_parameters(self) -> float:
        """Parameters multiplied for each token written, prompts and catching up included.

        What bounds the time where arithmetic does: the large model reads every token it did not write.
        """
        parts = self.small_positions * self.small_parameters + self.large_positions * self.large_parameters
        return (parts + self.n_scored * self.router_parameters) / self.n_tokens if self.n_tokens else 0.0


def notes_of(cost: RoutingCost) -> dict[str, float]:
    """The figures of a report's row."""
    return {
        "large share": cost.large_share,
        "small forwards": cost.small_forwards,
        "large forwards": cost.large_forwards,
        "large positions": cost.large_positions,
        "activated parameters": cost.activated_parameters,
    }
