import pytest

from mrct_train.layers import group_norm


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (128, 32), (192, 32), (384, 32), (16, 8), (48, 24), (40, 20)]
)
def test_norms_have_up_to_32_groups_of_at_least_two_channels(channels, groups):
    assert group_norm(channels, 32).num_groups == groups
