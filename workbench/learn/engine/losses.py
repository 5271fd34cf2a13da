"""The arithmetic of preference learning and PPO: tensors in, tensors out, the equation's source on the line.

Shapes: B answers, T token positions of an answer, right-padded. `mask` is 1 at an answer's tokens, its end token
included, and 0 at padding. What stands at a masked position never changes a result.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def keep(values: Tensor, mask: Tensor) -> Tensor:
    """`values` where `mask` is 1, else 0: applied before any arithmetic, so that padding reaches no gradient either."""
    return torch.where(mask.bool(), values, torch.zeros_like(values))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, T) where `mask` (B, T) is 1; 0 when nothing is."""
    return keep(values, mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, keep_mean: bool = False) -> Tensor:
    """`values` (B, T) with variance 1 over the mask, and mean 0 unless `keep_mean`; 0 at padding.

    The variance is the unbiased one, as in lm-human-preferences and TRL.
    """
    values = keep(values, mask)
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    n = mask.sum()
    variance = variance * n / (n - 1).clamp(min=1)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return keep(whitened + mean if keep_mean else whitened, mask)


def kl(log_p: Tensor, log_q: Tensor, estimator: str = "k1") -> Tensor:
    """Per-sample estimates of KL(p || q) from samples of p; any shape (Schulman, "Approximating KL divergence").

    k1 is unbiased, k2 has the KL's gradient, k3 is unbiased and never negative. Raises ValueError on another name.
    """
    log_ratio = log_p - log_q
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio**2 / 2
    if estimator == "k3":
        # expm1 keeps the digits that exp(x) - 1 loses when the two models are close
        return torch.expm1(-log_ratio) + log_ratio
    raise ValueError(f"kl_estimator must be k1, k2 or k3, not {estimator!r}")


def adapt_kl_coefficient(coefficient: float, measured: float, target: float, n: int, horizon: int) -> float:
    """The adaptive coefficient after `n` episodes whose mean KL was `measured` nats (Ziegler et al. 2019, sec. 2.2)."""
    error = min(max(measured / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * n / horizon)


def token_rewards(
    scores: Tensor, log_p: Tensor, log_reference: Tensor, mask: Tensor, beta: float, estimator: str = "k1"
) -> Tensor:
    """Rewards per token (B, T): minus `beta` times the KL at each token, plus the score (B,) at the last one.

    The score sits on the end token itself, not one later (Ziegler et al. 2019, eq. 2).
    """
    rewards = -beta * kl(keep(log_p, mask), keep(log_reference, mask), estimator)
    last = mask.long().sum(1) - 1
    rows = torch.nonzero(last >= 0).squeeze(1)
    rewards[rows, last[rows]] += scores[rows]
    return rewards


def advantages(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns, each (B, T), 0 at padding (Schulman et al. 2016, eq. 16).

    An answer ends at its last token: nothing is bootstrapped from beyond it.
    """
    mask = mask.to(values.dtype)
    rewards, values = keep(rewards, mask), keep(values, mask)
    advantage = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(running)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = (delta + gamma * lam * running) * mask[:, t]
        following = values[:, t]
        advantage[:, t] = running
    return advantage, advantage + values


def policy_loss(
    log_p: Tensor, old_log_p: Tensor, advantage: Tensor, mask: Tensor, clip: float = 0.2
) -> tuple[Tensor, Tensor]:
    """The clipped objective as a loss, and the share of tokens at which the clip is active (Schulman et al. 2017, eq. 7)."""
    advantage = keep(advantage, mask)
    ratio = torch.exp(keep(log_p, mask) - keep(old_log_p, mask))
    plain = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - clip, 1 + clip)
    return masked_mean(torch.maximum(plain, clipped), mask), masked_mean((clipped > plain).float(), mask)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float = 0.2) -> Tensor:
    """Half the squared error, the worse of clipped and not (lm-human-preferences; N+ implementation details)."""
    values, old_values, returns = keep(values, mask), keep(old_values, mask), keep(returns, mask)
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (near - returns) ** 2), mask)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over the mask; nan when the returns do not vary."""
    real = mask.bool()
    variance = returns[real].var(correction=0)
    return float("nan") if variance == 0 else float(1 - (returns - values)[real].var(correction=0) / variance)


def bradley_terry(margin: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood that the chosen answer wins, from score margins (B,) (Bradley & Terry 1952)."""
    loss = -F.logsigmoid(margin)
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum()


def dpo(
    chosen_log_ratio: Tensor, rejected_log_ratio: Tensor, beta: float = 0.1, label_smoothing: float = 0.0
) -> Tensor:
    """DPO losses (B,) from log(policy / reference) of both answers (Rafailov et al. 2023, eq. 7; cDPO for smoothing)."""
    logits = beta * (chosen_log_ratio - rejected_log_ratio)
    return -F.logsigmoid(logits) * (1 - label_smoothing) - F.logsigmoid(-logits) * label_smoothing


def log_odds(log_p: Tensor) -> Tensor:
    """log(p / (1 - p)) of probabilities given as logarithms, exact near 1 too; p is taken to be below 1 by a millionth."""
    log_p = log_p.float().clamp(max=-1e-6)
    return log_p - torch.where(log_p > -0.6931, torch.log(-torch.expm1(log_p)), torch.log1p(-torch.exp(log_p)))


def odds_ratio(chosen_log_p: Tensor, rejected_log_p: Tensor) -> Tensor:
    """ORPO's second loss, from mean log-probabilities per token (B,) of both answers (Hong et al. 2024, eq. 7)."""
    return -F.logsigmoid(log_odds(chosen_log_p) - log_odds(rejected_log_p)).mean()
