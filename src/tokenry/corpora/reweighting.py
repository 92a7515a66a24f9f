"""Weights of domains that follow the losses of a model in training: DoReMi, DoGE, a bandit, and skills.

Each is one step, a pure function; the training loop calls it and, for DoReMi and DoGE, takes the mean of the weights
over all steps (`MeanWeights`) as the mixture for the real run.

Papers: DoReMi (arXiv 2305.10429), algorithm 1; DoGE (arXiv 2310.15393), algorithm 1; Efficient Online Data Mixing
(arXiv 2312.02406); Skill-it! (arXiv 2307.14430).
"""

import numpy as np

__all__ = ["MeanWeights", "bandit_step", "doge_scores", "doge_step", "doremi_step", "excess_losses", "skill_weights"]

# Axes: S domains, N tokens, P parameters.


def excess_losses(
    proxy_N: np.ndarray, reference_N: np.ndarray, domain_N: np.ndarray, *, n_domains: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much worse the proxy is than the reference, in each domain: mean over its tokens of max(0, difference).

    Args:
        proxy_N, reference_N: loss of each token, in nats.
        domain_N: its domain.

    Returns:
        excess_S: 0 for a domain without tokens.
        counts_S: tokens of each domain.

    Paper: DoReMi (arXiv 2305.10429).
    """
    gains_N = np.maximum(0.0, np.asarray(proxy_N, np.float64) - np.asarray(reference_N, np.float64))
    counts_S = np.bincount(domain_N, minlength=n_domains)
    sums_S = np.bincount(domain_N, gains_N, minlength=n_domains)
    return sums_S / np.maximum(counts_S, 1), counts_S


def doremi_step(
    weights_S: np.ndarray, excess_S: np.ndarray, *, rate: float = 1.0, smoothing: float = 1e-3
) -> np.ndarray:
    """One step of group DRO: weights grow with the excess loss of their domain.

    a_i exp(rate * excess_i), normalised, then (1 - smoothing) a + smoothing / S.

    Args:
        weights_S: now; they sum to 1.
        excess_S: as `excess_losses` gives them.

    Paper: DoReMi (arXiv 2305.10429), algorithm 1.
    """
    weights_S = _grown(weights_S, rate * np.asarray(excess_S, np.float64))
    return (1 - smoothing) * weights_S + smoothing / len(weights_S)


def doge_scores(gradients_SP: np.ndarray) -> np.ndarray:
    """How much a step on each domain helps all: the product of its gradient with the sum of all gradients.

    Paper: DoGE (arXiv 2310.15393), equation 4.
    """
    gradients_SP = np.asarray(gradients_SP, np.float64)
    return gradients_SP @ gradients_SP.sum(axis=0)


def doge_step(weights_S: np.ndarray, scores_S: np.ndarray, *, rate: float = 1.0, strength: float = 1.0) -> np.ndarray:
    """One step of DoGE: a_i exp(rate * score_i / strength), normalised.

    Args:
        scores_S: as `doge_scores` gives them, or products with the gradient of a target for a chosen domain.
        rate: the learning rate of the model at this step.
        strength: mu of the paper, how firmly the weights stay where they are.

    Paper: DoGE (arXiv 2310.15393), algorithm 1.
    """
    return _grown(weights_S, rate * np.asarray(scores_S, np.float64) / strength)


def bandit_step(
    rewards_S: np.ndarray, losses_S: np.ndarray, weights_S: np.ndarray, *, step: int, decay: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One step of online mixing (EXP3): domains are arms, and their loss is the reward.

    Args:
        rewards_S: smoothed so far; zeros at first.
        losses_S: of this step; NaN for domains that were not drawn.
        weights_S: with which the step was drawn; 1 / S at first.
        step: number of this step, from 1.
        decay: of the smoothing.

    Returns:
        rewards_S: smoothed with those of this step, divided by the weights.
        weights_S: for the next step; none is below min(1 / S, sqrt(ln S / (S step))).

    Paper: Efficient Online Data Mixing (arXiv 2312.02406), algorithm 1.
    """
    losses_S, weights_S = np.asarray(losses_S, np.float64), np.asarray(weights_S, np.float64)
    rewards_S = np.asarray(rewards_S, np.float64)
    drawn_S = np.isfinite(losses_S)
    fresh_S = decay * rewards_S + (1 - decay) * np.where(drawn_S, losses_S, 0) / weights_S
    rewards_S = np.where(drawn_S, fresh_S, rewards_S)
    n = len(rewards_S)
    before, least = (min(1 / n, float(np.sqrt(np.log(n) / (n * max(1, t))))) for t in (step - 1, step))
    return rewards_S, (1 - n * least) * _grown(np.full(n, 1 / n), before * rewards_S) + least


def skill_weights(helps_SS: np.ndarray, losses_S: np.ndarray, *, rate: float = 1.0) -> np.ndarray:
    """Weights by what each skill helps: exp(rate * sum_j helps_ij loss_j), normalised.

    Args:
        helps_SS: how much training on i lowers the loss of j.
        losses_S: now.

    Paper: Skill-it! (arXiv 2307.14430), equation 4.
    """
    helps_SS = np.asarray(helps_SS, np.float64)
    return _grown(np.full(len(helps_SS), 1 / len(helps_SS)), rate * (helps_SS @ np.asarray(losses_S, np.float64)))


class MeanWeights:
    """The mean of the weights over all steps: what DoReMi and DoGE hand to the real run."""

    def __init__(self) -> None:
        self.n_steps, self._sum_S = 0, np.zeros(0)

    def add(self, weights_S: np.ndarray) -> None:
        """Count the weights of one step."""
        weights_S = np.asarray(weights_S, np.float64)
        self._sum_S = weights_S.copy() if self.n_steps == 0 else self._sum_S + weights_S
        self.n_steps += 1

    @property
    def mean(self) -> np.ndarray:
        """The mean so far.

        Raises:
            ValueError: no step was counted.
        """
        if self.n_steps == 0:
            raise ValueError("no weights were added yet; call add after each step.")
        return self._sum_S / self.n_steps


def _grown(weights_S: np.ndarray, logs_S: np.ndarray) -> np.ndarray:
    """weights * exp(logs), normalised, in logarithms: a large rate overflows nothing."""
    weights_S = np.asarray(weights_S, np.float64)
    if logs_S.shape != weights_S.shape or not np.isfinite(logs_S).all() or not (weights_S >= 0).all():
        raise ValueError(
            f"weights {weights_S.shape} and numbers {logs_S.shape} for them; need as many, all finite, weights of 0 "
            "or more. A loss that is not finite means that the model has diverged: lower its learning rate."
        )
    if weights_S.sum() <= 0:
        raise ValueError("no weight is above 0; start with 1 / S each.")
    with np.errstate(divide="ignore"):
        logs_S = np.log(weights_S) + logs_S
    powers_S = np.exp(logs_S - logs_S.max())
    return powers_S / powers_S.sum()
