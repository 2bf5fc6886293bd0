"""The training methods: one file a family, one line here a method."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mrct_train.learners.adversarial import AdversarialLearner
from mrct_train.learners.learner import Learner, Method
from mrct_train.learners.noise import NoiseLearner
from mrct_train.learners.regression import RegressionLearner

__all__ = ["LEARNERS", "Learner", "Method"]

LEARNERS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "ddpm": NoiseLearner,
        "sde": NoiseLearner,
        "cnn": RegressionLearner,
        "wgan-gp": AdversarialLearner,
    }
)
