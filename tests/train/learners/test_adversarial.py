import pytest
import torch
from torch import nn
from training_run import pairs, recipe

from mrct_train.batches import Rows, Source
from mrct_train.checkpoint import build_network
from mrct_train.config import Critic
from mrct_train.data import Order
from mrct_train.learners.adversarial import AdversarialLearner, Judgement, Persuasion, slope
from mrct_train.learners.critic import PatchCritic
from mrct_train.learners.regression import RegressionLearner
from mrct_train.precision import Precision
from mrct_train.ranks import Alone

FULL = Precision("fp32", torch.device("cpu"))


class MeanCritic(nn.Module):
    """D = c mean(x): its slope is c everywhere and at every size."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x, y):
        return self.factor * x.mean(dim=(1, 2, 3))


def learner(kind=AdversarialLearner, **fields):
    config = recipe(method="wgan-gp", batch=4, **fields)
    data = pairs()
    source = Source(data, Order(data.of(range(4)), 4, config.seed), Rows(4), config)
    torch.manual_seed(0)
    network = build_network(config, data.summary(range(4)))
    return kind(network, source, data.summary(range(4)), Alone())


@pytest.mark.parametrize("size", [4, 32])
def test_the_slope_of_a_critic_does_not_depend_on_the_size_of_the_image(size):
    x = torch.rand(3, 1, size, size, requires_grad=True)
    assert slope(MeanCritic(2.5), x, x).tolist() == pytest.approx([2.5] * 3)


def test_the_terms_of_the_critic_are_their_formulas():
    x0, made = torch.full((2, 1, 4, 4), 0.7), torch.full((2, 1, 4, 4), 0.3)
    judgement = Judgement(MeanCritic(3.0), lambda y: made, penalty=10.0)
    terms = judgement(x0, x0, torch.tensor([0.1, 0.9]))
    assert terms["wasserstein"].item() == pytest.approx(3.0 * 0.4)
    assert terms["gradient_penalty"].item() == pytest.approx((3.0 - 1) ** 2)
    assert terms["critic"].item() == pytest.approx(10 * 4 - 1.2, rel=1e-5)


def test_the_penalty_has_the_gradient_of_finite_differences():
    torch.manual_seed(0)
    critic = PatchCritic(Critic(base=2, levels=1)).double()
    x0, y, u = torch.rand(2, 1, 4, 4).double(), torch.rand(2, 1, 4, 4).double(), torch.rand(2)
    judgement = Judgement(critic, lambda y: 1 - y, penalty=10.0)
    weight = critic.mix.weight

    def penalty():
        return judgement(x0, y, u.double())["gradient_penalty"]

    (gradient,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight[0, 0, 1, 1] += 1e-6
    above = penalty().item()
    with torch.no_grad():
        weight[0, 0, 1, 1] -= 2e-6
    assert gradient[0, 0, 1, 1].item() == pytest.approx((above - penalty().item()) / 2e-6, rel=1e-5)


def test_the_best_critics_verdict_is_the_distance_of_made_images_from_real_ones():
    """W_1 of two certain images is their distance d; the penalty lets the slope be 1 + d / 2 lambda."""
    real, made = torch.full((4, 1, 8, 8), 0.6), torch.full((4, 1, 8, 8), 0.2)
    judgement = Judgement(MeanCritic(0.1), lambda y: made, penalty=10.0)
    descent = torch.optim.SGD(judgement.parameters(), lr=0.02)
    for _ in range(50):
        terms = judgement(real, real, torch.rand(4))
        descent.zero_grad()
        terms["critic"].backward()
        descent.step()
    assert terms["wasserstein"].item() == pytest.approx(0.4 * (1 + 0.4 / 20), rel=1e-5)


def test_the_generators_objective_is_the_squared_error_less_the_weighted_judgement():
    persuasion = Persuasion(nn.Identity(), MeanCritic(2.0), 0.25, FULL)
    terms = persuasion(torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.9))
    assert terms["loss"].item() == pytest.approx(0.16)
    assert terms["generator"].item() == pytest.approx(0.16 - 0.25 * 2 * 0.9)


def test_each_step_trains_the_critic_on_slices_of_its_own_and_the_generator_on_its():
    made = learner(critic={"base": 4, "levels": 2, "steps": 3})
    batches = made.batches(5)
    assert [len(batch) for batch in batches] == [3, 3, 3, 2]
    images = [batch[1] for batch in batches]
    assert not any(
        torch.equal(one, other) for one in images for other in images if one is not other
    )
    again = made.batches(5)
    for one, other in zip(batches, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_generator_sees_what_a_cnn_of_the_same_recipe_sees():
    both = learner(), learner(RegressionLearner)
    last, first = both[0].batches(3)[-1], both[1].batches(3)[0]
    assert all(torch.equal(a, b) for a, b in zip(last, first, strict=True))


def test_a_step_moves_both_networks_once_for_the_generator_and_steps_times_for_the_critic():
    made = learner(critic={"base": 4, "levels": 2, "steps": 3})
    terms = made.learn(made.batches(0), 1e-3)
    assert list(terms) == ["loss", "wasserstein", "gradient_penalty"]
    for name, steps in [("main", 1), ("critic", 3)]:
        state = made.descents[name].optimizer.state
        assert {int(held["step"]) for held in state.values()} == {steps}


def test_without_weight_the_generator_goes_the_way_of_the_cnn():
    adversarial = learner(critic={"base": 4, "levels": 2, "weight": 1e-30})
    regression = learner(RegressionLearner)
    for step in range(3):
        adversarial.learn(adversarial.batches(step), 1e-3)
        regression.learn(regression.batches(step), 1e-3)
    one, other = (made.descents["main"].network.state_dict() for made in (adversarial, regression))
    assert all(torch.equal(one[name], other[name]) for name in one)
