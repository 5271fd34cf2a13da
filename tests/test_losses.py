"""Against values worked by hand or taken from the named reference; then invariants; then fuzz at masked positions."""

import pytest
import torch
from torch import tensor

from workbench.learn.engine import losses
from workbench.measure import best_of_n


def close(actual, expected, tolerance=1e-6):
    torch.testing.assert_close(
        torch.as_tensor(actual).float(), torch.as_tensor(expected).float(), atol=tolerance, rtol=0
    )


ONES4, ONES3 = torch.ones(1, 4), torch.ones(1, 3)


def test_advantages_match_torchtunes_test():
    v = r = tensor([[0.0, 0, 0, 1]])
    _, returns = losses.advantages(r, v, ONES4, gamma=0.9, lam=0.95)
    close(returns, [[0.6579225, 0.7695, 0.9, 1]])


def test_score_on_the_end_token():
    advantage, _ = losses.advantages(tensor([[-0.05, 0.02, 0.99]]), tensor([[0.5, 0.4, 0.6]]), ONES3, gamma=1, lam=0.95)
    close(advantage, [[0.410975, 0.5905, 0.39]])


@pytest.mark.parametrize(
    ("estimator", "plus", "minus"), [("k1", 0.5, -0.5), ("k2", 0.125, 0.125), ("k3", 0.1065307, 0.1487213)]
)
def test_kl_estimators(estimator, plus, minus):
    close(losses.kl(tensor([0.5, -0.5]), tensor([0.0, 0.0]), estimator), [plus, minus])


def test_kl_estimators_are_unbiased_where_they_claim_it():
    p, q = tensor([0.7, 0.2, 0.1]), tensor([0.5, 0.3, 0.2])
    for estimator in ("k1", "k3"):
        close((p * losses.kl(p.log(), q.log(), estimator)).sum(), 0.0851228)


def test_k3_keeps_its_digits_for_close_models():
    """By series: k3(x) = x^2/2 - x^3/6 + ..., so 5e-11 at x = 1e-5, where exp(-x) - 1 + x gives 0 in float32."""
    close(losses.kl(tensor([1e-5]), tensor([0.0]), "k3") * 1e11, [5.0], 0.7)


def test_k2_has_the_gradient_of_the_kl():
    logits = tensor([0.3, -0.2, 0.1], requires_grad=True)
    q = tensor([0.5, 0.3, 0.2])
    log_p = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((log_p.exp() * (log_p - q.log())).sum(), logits, retain_graph=True)
    (k2,) = torch.autograd.grad((log_p.exp().detach() * losses.kl(log_p, q.log(), "k2")).sum(), logits)
    close(k2, exact)


def test_unknown_estimator_is_named():
    with pytest.raises(ValueError, match="k9"):
        losses.kl(tensor([0.0]), tensor([0.0]), "k9")


@pytest.mark.parametrize(("measured", "expected"), [(12, 0.151536), (6.3, 0.150384), (3, 0.148464)])
def test_adaptive_coefficient(measured, expected):
    close(losses.adapt_kl_coefficient(0.15, measured, target=6, n=512, horizon=10_000), expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"), [(1.5, 1, -1.2), (1.5, -1, 1.5), (0.5, 1, -0.5), (0.5, -1, 0.8)]
)
def test_clipped_objective(ratio, advantage, expected):
    one = torch.ones(1, 1)
    loss, _ = losses.policy_loss(tensor([[ratio]]).log(), torch.zeros(1, 1), one * advantage, one, clip=0.2)
    close(loss, expected)


def test_clip_fraction_counts_only_where_the_clip_is_active():
    log_p = tensor([[1.5, 1.5, 0.5, 0.5]]).log()
    _, share = losses.policy_loss(log_p, torch.zeros(1, 4), tensor([[1.0, -1, 1, -1]]), ONES4, clip=0.2)
    close(share, 0.5)


@pytest.mark.parametrize(("value", "expected"), [(1.0, 0.845), (0.6, 0.98)])
def test_clipped_value(value, expected):
    one = torch.ones(1, 1)
    close(losses.value_loss(one * value, one * 0.5, one * 2, one, clip=0.2), expected)


def test_bradley_terry():
    close(losses.bradley_terry(tensor([1.0])), 0.3132617)
    close(losses.bradley_terry(tensor([1.0, 5.0]), tensor([1.0, 0.0])), 0.3132617)


def test_dpo():
    close(losses.dpo(tensor([2.0]), tensor([0.5])), [0.6209571])
    close(losses.dpo(tensor([2.0]), tensor([0.5]), label_smoothing=0.1), [0.6359571])


def test_token_rewards_match_torchtunes():
    log_p = tensor([[0.1, 0.2, 0.3]])
    close(losses.token_rewards(tensor([1.0]), log_p, log_p + 0.1, ONES3, beta=0.5), [[0.05, 0.05, 1.05]])


def test_best_of_n_kl():
    close(best_of_n.best_of_n_kl(4), 0.636, 5e-4)
    close(best_of_n.best_of_n_kl(16), 1.835, 5e-4)
    assert best_of_n.best_of_n_kl(1) == 0
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n.best_of_n_kl(0)


def test_whiten():
    """Values 1, 2, 3: mean 2, unbiased variance 1."""
    values, mask = tensor([[1.0, 2, 3, 99]]), tensor([[1.0, 1, 1, 0]])
    close(losses.whiten(values, mask), [[-1.0, 0, 1, 0]])
    close(losses.whiten(values, mask, keep_mean=True), [[1.0, 2, 3, 0]])


def test_explained_variance():
    returns = tensor([[1.0, 2, 3]])
    assert losses.explained_variance(returns, returns, ONES3) == 1
    assert losses.explained_variance(torch.full((1, 3), 2.0), returns, ONES3) == 0
    # residuals of 1, 2, 3 against values 1, 3, 2 are 0, -1, 1: variance 2/3 over 2/3
    assert losses.explained_variance(tensor([[1.0, 3, 2]]), returns, ONES3) == 0


def test_an_answer_of_no_tokens_stays_finite():
    mask = tensor([[0.0, 0, 0], [1, 1, 0]])
    rewards = losses.token_rewards(tensor([5.0, 1.0]), torch.zeros(2, 3), torch.zeros(2, 3), mask, beta=0.1)
    close(rewards, [[0.0, 0, 0], [0, 1, 0]])
    advantage, _ = losses.advantages(rewards, torch.zeros(2, 3), mask, gamma=1.0, lam=0.95)
    assert torch.isfinite(advantage).all()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("junk", [7.0, -1e30, float("nan"), float("inf")])
def test_masked_positions_change_nothing(seed, junk):
    torch.manual_seed(seed)
    lengths = torch.randint(1, 7, (4,))
    mask = (torch.arange(6)[None] < lengths[:, None]).float()
    log_p, old, reference, values, old_values = torch.randn(5, 4, 6)
    scores = torch.randn(4)

    def everything(fill):
        a, b, c, d, e = (
            torch.where(mask.bool(), x, torch.full_like(x, fill)) for x in (log_p, old, reference, values, old_values)
        )
        rewards = losses.token_rewards(scores, a, c, mask, beta=0.1, estimator="k3")
        advantage, returns = losses.advantages(rewards, d, mask, gamma=1.0, lam=0.95)
        white = losses.whiten(advantage, mask)
        loss, share = losses.policy_loss(a, b, white, mask)
        return [
            rewards,
            advantage,
            returns,
            white,
            loss,
            share,
            losses.value_loss(d, e, returns, mask),
            losses.masked_mean(a, mask),
        ]

    for clean, dirty in zip(everything(0.0), everything(junk), strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("junk", [-1e30, float("nan"), float("inf")])
def test_masked_positions_reach_no_gradient(junk):
    mask = tensor([[1.0, 1, 0]])
    for loss in (losses.policy_loss, losses.value_loss):
        inputs = tensor([[0.1, 0.2, junk]], requires_grad=True)
        others = tensor([[0.3, 0.1, junk]]), tensor([[1.0, -1, junk]])
        value = loss(inputs, *others, mask)
        (gradient,) = torch.autograd.grad(value[0] if isinstance(value, tuple) else value, inputs)
        assert torch.isfinite(gradient).all() and gradient[0, 2] == 0 and gradient[0, :2].abs().sum() > 0


def test_log_odds_by_hand():
    close(losses.log_odds(tensor([0.5, 0.9, 0.25]).log()), [0.0, 2.1972246, -1.0986123])  # log 1, log 9, log 1/3
    near = losses.log_odds(tensor([0.0, -1e-5]))
    assert torch.isfinite(near).all() and near[1] == pytest.approx(11.513, abs=1e-2)  # log(1 / 1e-5)


def test_the_odds_ratio_loss_by_hand():
    # odds 1 and 1/3: -log sigmoid(log 3) = log 4/3; equal odds are a coin toss
    close(losses.odds_ratio(tensor([0.5]).log(), tensor([0.25]).log()), 0.2876821)
    close(losses.odds_ratio(tensor([0.3, 0.5]).log(), tensor([0.3, 0.25]).log()), (0.6931472 + 0.2876821) / 2)
    sure = tensor([0.0], requires_grad=True)
    losses.odds_ratio(sure, tensor([-1.0])).backward()
    assert torch.isfinite(sure.grad).all()
