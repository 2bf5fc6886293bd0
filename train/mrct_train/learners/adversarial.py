"""Method "wgan-gp": the direct network is the generator G, with a critic D that tells its CT from real ones.

The paper names the method and gives no critic or weights; these are ours. The distance of two images is the root of
their mean squared difference, ||d|| = sqrt(mean d^2), in which D's slope at x is ||D'|| = sqrt(N) |grad_x D|_2 for N
pixels. Then nothing below depends on the size of the image.

    critic:     minimise  E D(G(y), y) - E D(x_0, y) + lambda E (||D'(u x_0 + (1 - u) G(y), y)|| - 1)^2
    generator:  minimise  E mean (G(y) - x_0)^2 - weight E D(G(y), y)

with u uniform on [0, 1), one a sample, and lambda = `critic.gradient_penalty` (Gulrajani et al. 2017, equation 3). As D
has slope 1, it pulls at an image with `weight`, and the squared error with twice the distance from the truth: detail that
the MR does not tell, of deviation s, costs s^2 and is worth at most weight s, so G invents no more of it than
s = weight / 2. With 0.01 that is 20 HU in a window of 4095, as much as the noise of a CT; 0.1 would allow 200 HU.

A step is `critic.steps` of D, each on slices of their own, and then one of G. The critic is computed in fp32 at any
precision, since its penalty takes the gradient of a gradient; its Adam has betas 0 and 0.9 (algorithm 1 there). Not in
that paper: its gradient, penalty included, is clipped at the recipe's `grad_clip` as the generator's is; inf is theirs. The
"loss" in the log is the squared error: the critic's judgement has no fixed scale to compare epochs by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mrct_runtime.errors import UsageError
from mrct_train.batches import Batch, Source
from mrct_train.data import DataSummary, Order
from mrct_train.learners.critic import build_critic
from mrct_train.learners.descent import Descent, Terms
from mrct_train.learners.regression import Regression
from mrct_train.loss import generator
from mrct_train.precision import Precision
from mrct_train.ranks import Ranks

_CRITIC_BETAS = (0.0, 0.9)
_CRITIC_ORDER = 2**63  # beyond any seed: the critic's order of the slices is not the generator's


class Judgement(nn.Module):
    """The critic's objective on (x_0, y, u): {"critic", "wasserstein", "gradient_penalty"}, the first minimised."""

    def __init__(
        self, critic: nn.Module, generate: Callable[[Tensor], Tensor], penalty: float
    ) -> None:
        super().__init__()
        self.network, self.penalty = critic, penalty
        self.generate = generate  # a function, no module: its weights are not the critic's to train

    def forward(self, x0: Tensor, y: Tensor, u: Tensor) -> Terms:
        """The terms of a pair [B, 1, H, W] and the places u [B] between a real and a made CT."""
        with torch.no_grad():
            made = self.generate(y)
        wasserstein = torch.mean(self.network(x0, y)) - torch.mean(self.network(made, y))
        between = torch.lerp(made, x0, u[:, None, None, None]).requires_grad_()
        penalty = torch.mean(torch.square(slope(self.network, between, y) - 1))
        return {
            "critic": self.penalty * penalty - wasserstein,
            "wasserstein": wasserstein,
            "gradient_penalty": penalty,
        }


def slope(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """||D'(x, y)|| [B], the critic's change for a change of x by one in the root mean square; differentiable."""
    (gradient,) = torch.autograd.grad(critic(x, y).sum(), x, create_graph=True)
    pixels = x[0].numel()
    # sqrt has no slope at 0, where a fresh or dead critic may be
    return torch.sqrt(pixels * torch.square(gradient).sum(dim=(1, 2, 3)) + 1e-12)


class Persuasion(nn.Module):
    """The generator's objective on (x_0, y): {"generator", "loss"}, the first minimised, the other the squared error."""

    def __init__(
        self,
        network: nn.Module,
        judge: Callable[[Tensor, Tensor], Tensor],
        weight: float,
        precision: Precision,
    ) -> None:
        super().__init__()
        self.network, self.judge, self.weight, self.precision = network, judge, weight, precision

    def forward(self, x0: Tensor, y: Tensor) -> Terms:
        """The terms of a pair [B, 1, H, W]."""
        made = self.precision.run(self.network, y)
        loss = torch.mean(torch.square(made - x0))
        return {"generator": loss - self.weight * torch.mean(self.judge(made, y)), "loss": loss}


class AdversarialLearner:
    """The direct network and its critic."""

    def __init__(
        self, network: nn.Module, source: Source, _data: DataSummary, ranks: Ranks
    ) -> None:
        if ranks.sharded:
            raise UsageError('method "wgan-gp" cannot be sharded: use --strategy ddp')
        config = source.config
        self.source, self.seed = source, config.seed
        self.critic_steps = config.critic.steps
        self.critic_order = Order(source.order.slices, config.batch, config.seed + _CRITIC_ORDER)
        self.precision = Precision(config.precision, ranks.device)
        full = Precision("fp32", ranks.device)
        critic = full.arrange(build_critic(config))

        def generate(y: Tensor) -> Tensor:
            return self.precision.run(network, y)

        def judge(x: Tensor, y: Tensor) -> Tensor:
            out: Tensor = critic(x, y)
            return out

        persuasion = Persuasion(network, judge, config.critic.weight, self.precision)
        judgement = Judgement(critic, generate, config.critic.gradient_penalty)
        self.descents = {
            "main": Descent(persuasion, "generator", config, ranks, self.precision),
            "critic": Descent(judgement, "critic", config, ranks, full, _CRITIC_BETAS),
        }

    def batches(self, step: int) -> Sequence[Batch]:
        """(x_0, y, u) for every step of the critic, then (x_0, y) for the generator's."""
        source, seed, count = self.source, self.seed, self.critic_steps
        made: list[Batch] = []
        for k in range(count):
            random = generator(seed, step, 1 + k)
            pair = source.pair(self.critic_order.indices(step * count + k), random)
            u = torch.rand(source.rows.batch, generator=random)
            made.append((*pair, u[source.rows.mine]))
        return [*made, source.pair(source.order.indices(step), generator(seed, step))]

    def learn(self, batches: Sequence[Batch], rate: float) -> Terms:
        """The generator's squared error, and the mean of the critic's terms over its steps."""
        critic, main = self.descents["critic"], self.descents["main"]
        judged = [critic.step(batch, rate) for batch in batches[:-1]]
        critic.network.requires_grad_(requires_grad=False)
        terms = main.step(batches[-1], rate)
        critic.network.requires_grad_(requires_grad=True)
        means = {
            name: torch.stack([one[name] for one in judged]).mean()
            for name in ("wasserstein", "gradient_penalty")
        }
        return {"loss": terms["loss"], **means}

    def examples(self, pair: tuple[Tensor, Tensor], _random: torch.Generator) -> Batch:
        """The pair itself: nothing is random here."""
        return pair

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The squared error of a network on a pair."""
        terms: Terms = Regression(network, self.precision)(*batch)
        return terms["loss"]
