"""What proposes the values of a trial, from a seed and the trials before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import optuna


def make_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return a tree-structured Parzen estimator whose draws depend on the seed and the trials.

    Optuna's own draws from one stream of random numbers a process: a search that goes on, and a
    second worker, would try the first values again. Here every trial has its own stream, numbered
    by the trials that were told or are running.
    """
    import optuna
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

    class SeededByTrial(optuna.samplers.BaseSampler):
        """One estimator a trial."""

        def __init__(self) -> None:
            self.inner: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=seed)

        def before_trial(self, study: optuna.Study, trial: Any) -> None:
            before = study.get_trials(deepcopy=False, states=states)
            broken = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            number = sum(t.number != trial.number for t in before)
            number += sum(bool(t.user_attrs) and "problem" in t.user_attrs for t in broken)
            own = np.random.SeedSequence([seed, number]).generate_state(1)[0]
            self.inner = optuna.samplers.TPESampler(seed=int(own))
            self.inner.before_trial(study, trial)

        def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> Any:
            return self.inner.infer_relative_search_space(study, trial)

        def sample_relative(self, study: optuna.Study, trial: Any, search_space: Any) -> Any:
            return self.inner.sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: optuna.Study, trial: Any, param_name: str, param_distribution: Any
        ) -> Any:
            return self.inner.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: optuna.Study, trial: Any, state: Any, values: Any) -> None:
            self.inner.after_trial(study, trial, state, values)

    return SeededByTrial()
