import pytest
import torch
from training_run import recipe

from mrct_runtime.errors import UsageError
from mrct_train.config import Critic
from mrct_train.learners.critic import PatchCritic, build_critic

SMALL = Critic(base=4, levels=2)


def test_there_is_one_judgement_a_sample_at_any_size():
    critic = PatchCritic(SMALL)
    for height, width in [(8, 8), (16, 12)]:
        assert critic(torch.rand(3, 1, height, width), torch.rand(3, 1, height, width)).shape == (
            3,
        )


def test_samples_of_a_batch_do_not_see_each_other():
    """The gradient penalty is a sample's own, so no layer may mix them."""
    torch.manual_seed(0)
    critic = PatchCritic(SMALL)
    x, y = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    alone = torch.cat([critic(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(critic(x, y), alone)


def test_the_judgement_depends_on_the_ct_and_on_the_mr():
    torch.manual_seed(0)
    critic = PatchCritic(SMALL)
    x, y = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    assert not torch.allclose(critic(x, y), critic(1 - x, y))
    assert not torch.allclose(critic(x, y), critic(x, 1 - y))


def test_a_patch_of_the_default_critic_has_78_pixels_a_side():
    torch.manual_seed(0)
    critic = PatchCritic(Critic(base=2))
    x = torch.rand(1, 1, 256, 256, requires_grad=True)
    judged = []
    critic.last.register_forward_hook(lambda module, inputs, output: judged.append(output))
    critic(x, x.detach())
    judged[0][0, 0, 8, 8].backward()
    rows = x.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 78 + 32  # the two 3 x 3 layers at a stride of 16


def test_a_critic_that_halves_the_image_away_is_refused():
    with pytest.raises(
        UsageError, match=r"critic\.levels 4 halve an image of 8 pixels.* at most 3"
    ):
        build_critic(recipe(critic={"levels": 4}))
