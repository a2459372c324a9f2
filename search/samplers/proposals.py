"""A sampler for Optuna that passes on the configuration that the search has chosen."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


class ProposalSampler(optuna.samplers.RandomSampler):
    """The next trial has the values of `proposal`, which the search sets; without one it is random."""

    def __init__(self, space: dict[str, BaseDistribution], *, seed: int) -> None:
        super().__init__(seed=seed)
        self.space, self.seed = space, seed
        self.proposal: dict[str, Any] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Return the whole space."""
        return self.space

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return the proposal, once."""
        proposal, self.proposal = self.proposal, {}
        return proposal
