"""Trials that run in parallel score as they do one after another."""

import time
import warnings
from types import SimpleNamespace
from unittest import mock

import joblib
import optuna
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC

from sklstm.model_selection import _parallel as parallel_module

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()


def test_a_failing_search_gives_no_warning_of_its_running_trials():
    # Filters of warnings are no help: a running trial may replace them at any time.
    def run(job, number, params, earlier):
        time.sleep(0.1 * number)
        return number, None

    jobs = ((SimpleNamespace(number=number), {}, []) for number in range(4))
    with (
        mock.patch.object(parallel_module, "_run", run),
        mock.patch("warnings.filterwarnings"),
    ):
        outcomes = parallel_module.in_parallel(None, jobs, 2)
        next(outcomes)
        outcomes.close()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_trials_side_by_side_score_the_same(backend, svc_search):
    with joblib.parallel_config(backend=backend):
        search = svc_search(n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert list(search.cv_results_["trial_number"]) == list(range(6))
    for i, params in enumerate(search.cv_results_["params"]):
        if search.cv_results_["trial_state"][i] == "COMPLETE":
            score = cross_val_score(SVC(**params), X_IRIS, Y_IRIS, cv=3).mean()
            assert search.cv_results_["mean_test_score"][i] == pytest.approx(score)


def test_networks_in_two_threads(few_digits, lstm_search):
    search = lstm_search(n_jobs=2, pruner=NEVER).fit(*few_digits)
    for i, params in enumerate(search.cv_results_["params"]):
        estimator = clone(search.estimator).set_params(**params)
        expected = cross_val_score(estimator, *few_digits, cv=StratifiedKFold(2)).mean()
        assert search.cv_results_["mean_test_score"][i] == pytest.approx(expected)


@pytest.mark.slow
def test_dask_runs_trials_in_worker_processes(svc_search):
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        warnings.simplefilter("ignore")
        search = svc_search(n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert len(search.cv_results_["params"]) == 6
