"""The loop of a search: what ends it, and what it shows."""

import optuna
import pytest
from sklearn.datasets import load_iris

from sklstm.model_selection import _study as study_module

X_IRIS, Y_IRIS = load_iris(return_X_y=True)


def test_a_callback_can_end_the_search(svc_search):
    seen = []

    def stop(study, trial):
        seen.append(trial.state.name)
        return len(seen) == 3

    search = svc_search(callbacks=[stop]).fit(X_IRIS, Y_IRIS)
    assert seen == ["COMPLETE"] * 3
    assert len(search.cv_results_["params"]) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_the_space_ends_the_search(n_jobs, svc_search):
    def space(trial):
        if trial.number == 4:
            raise KeyError("the fifth is too much")
        return {"C": trial.suggest_float("C", 0.1, 1)}

    with pytest.raises(KeyError, match="the fifth"):
        svc_search(space=space, n_trials=8, n_jobs=n_jobs).fit(X_IRIS, Y_IRIS)


def test_a_storage_that_fails_ends_the_search_with_its_error(svc_search):
    class Full(optuna.storages.InMemoryStorage):
        def set_trial_user_attr(self, trial_id, key, value):
            if key == study_module.FOLDS:
                raise OSError("the disk is full")
            super().set_trial_user_attr(trial_id, key, value)

    for n_jobs in (1, 2):
        with pytest.raises(OSError, match="the disk is full"):
            svc_search(storage=Full(), n_jobs=n_jobs).fit(X_IRIS, Y_IRIS)


def test_bar(capsys, svc_search):
    svc_search(verbose=1).fit(X_IRIS, Y_IRIS)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "best=0.9" in shown
