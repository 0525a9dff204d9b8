from __future__ import annotations

import numbers
import time
import warnings
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.validation import indexable

from sklstm._compat import (
    FRAMES_OF_FIT,
    BaseSearchCV,
    CallbackSupportMixin,
    Interval,
    StrOptions,
    check_method_params,
    with_callbacks,
)
from sklstm.model_selection._description import describe, describe_scoring
from sklstm.model_selection._finalists import (
    add_repeats,
    average,
    best_of_repeats,
    finalists_of,
    repeat,
    shuffled,
)
from sklstm.model_selection._pruning import median_pruner
from sklstm.model_selection._results import (
    add_trial_columns,
    fold_rows,
    folds_of,
    metric_names,
    params_of,
    rank_completed_first,
    report_failures,
)
from sklstm.model_selection._runner import TrialRunner
from sklstm.model_selection._space import check_choices, check_space
from sklstm.model_selection._study import (
    FOLDS,
    finished_trials,
    open_study,
    quiet_optuna,
)
from sklstm.model_selection._trial import TrialJob, final_step, trains_by_epochs


class OptunaSearchCV(BaseSearchCV, CallbackSupportMixin):
    """Search hyperparameters by cross-validation with Optuna.

    The search works like `sklearn.model_selection.RandomizedSearchCV`, for any
    estimator, with `n_trials` in place of `n_iter`. Optuna [1]_ chooses the parameters
    of each trial by the scores of the trials before it. It also stops trials early that
    score worse than the others: between two folds with any estimator, and during
    training with `LSTMImageClassifier` and `LSTMDefectDetector`, alone or as the last
    step of a Pipeline.

    Parameters
    ----------
    estimator : estimator
        Estimator whose parameters are searched. It is cloned and never changed.
    param_distributions : dict or callable
        Search space. A dict maps parameter names to Optuna distributions, frozen
        scipy.stats distributions, or lists of values, which are drawn with
        replacement; `suggest_space` returns such a dict. A function ``trial -> params``
        defines a space in which one choice depends on another.
    n_trials : int, default=20
        Number of finished trials: completed, pruned or failed.
    timeout : float, default=None
        Time in seconds after which no further trial begins. If None, there is no limit.
    sampler : optuna.samplers.BaseSampler, default=None
        Chooses the parameters of each trial. If None, use a `TPESampler` seeded with
        `random_state`.
    pruner : optuna.pruners.BasePruner, default=None
        Decides whether to stop a trial early. In each fold, the search scores the
        network on the test part up to ten times, evenly spread over training, and the
        pruner compares each score with those of earlier trials at the same point of the
        same fold. Its steps are the tenths of the planned epochs that are completed, 1
        to 10; with fewer than ten epochs, the search scores after each of them. After
        each fold, the pruner compares the mean score over the folds so far, at steps
        counted from 0. If None, use a `MedianPruner` that waits for five trials and,
        within a fold, for two steps. Use `optuna.pruners.NopPruner` to prune nothing.
    storage : str or optuna.storages.BaseStorage, default=None
        Storage for the trials, such as ``"sqlite:///study.db"``. If None, Optuna keeps
        them in memory.
    study_name : str, default=None
        Name of the study. If the storage has a study of this name, the search continues
        it. The estimator, the data, the folds and the scoring must be the same; the
        space may differ, except that a list must keep its values and a range its kind.
        If None, each call of `fit` creates a new study, which no search continues.
    scoring : str, callable, list, tuple or dict, default=None
        Metrics, as in `sklearn.model_selection.GridSearchCV`. With several metrics, the
        study and the pruner use the one that `refit` names, or else the first.
    n_jobs : int, default=None
        Number of trials that run at the same time. They run in threads, unless
        `joblib.parallel_config` selects another backend.
    refit : bool, str or callable, default=True
        Whether, and by which metric, to fit the best estimator on all data. As in
        `sklearn.model_selection.GridSearchCV`. If "ensemble", fit the estimators of the
        `n_finalists` best trials. `best_estimator_` then averages their probabilities.
        This needs a classifier with `predict_proba` and a single metric.
    refit_epochs : {"median_best"}, default=None
        If "median_best", train `best_estimator_` on all data without early stopping,
        for the median of the best epochs of the folds in the best trial. If None, fit
        it with the parameters of the best trial.
    n_finalists : int, default=5
        Number of best trials for `n_repeats` and ``refit="ensemble"``.
    n_repeats : int, default=0
        Number of times that the finalists are cross-validated again, each time on folds
        that are drawn anew. The best trial is the finalist with the best mean over the
        repeats. With 0, it is the trial with the best score in the search, which chance
        favoured more often than not [2]_. The folds of `cv` must be ones that can be
        shuffled.
    cv : int, splitter or iterable, default=None
        Cross-validation, as in `sklearn.model_selection.GridSearchCV`. All trials use
        the same folds.
    error_score : "raise" or float, default=nan
        Score of a fold that fails in fitting or scoring. If "raise", the error ends the
        search.
    return_train_score : bool, default=False
        If True, also score the training parts.
    random_state : int, RandomState or None, default=None
        Seed of the default sampler. With ``n_jobs=1``, a seed makes the whole search
        reproducible.
    verbose : int, default=0
        If positive, show a progress bar.
    callbacks : list of callable, default=None
        Functions ``callback(study, trial)`` that are called after each finished trial.
        If one returns True, the search ends.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        Results as in `sklearn.model_selection.GridSearchCV`, with one row for each
        finished trial, ordered by number. A fold that was not run has the score NaN and
        took 0 s. Four columns are added: ``trial_number``, ``trial_state``
        ("COMPLETE", "PRUNED" or "FAIL"), ``n_epochs``, the sum over all folds, and
        ``failure``, the message of the error. With `n_repeats`, the columns
        ``mean_repeated_test_score`` and ``std_repeated_test_score`` have the mean and
        the standard deviation over the repeats, and NaN if the trial is no finalist.
    best_estimator_, best_score_, best_params_, best_index_ : object
        As in `sklearn.model_selection.GridSearchCV`. The best trial is always a
        completed one. With `n_repeats`, the best score is the mean over its repeats.
    study_ : optuna.Study
        The study, for example for Optuna's plots.
    n_splits_ : int
        Number of folds.
    scorer_ : callable or dict
        The scorer, or a dict of scorers if there are several metrics.
    multimetric_ : bool
        Whether there are several metrics.
    refit_time_ : float
        Time in seconds that fitting the best estimator on all data took.
    classes_, n_features_in_, feature_names_in_ : ndarray or int
        As in the best estimator.

    See Also
    --------
    suggest_space : Suggest a search space for an estimator of this package.
    sklstm.inspection.SearchDisplay : Draw the history of a search.

    Notes
    -----
    Within a trial the folds run one after another, so a trial that is pruned in its
    first fold does not begin the second. `n_jobs` runs several trials at the same time.

    A search that continues a study also repeats the trials that were running when an
    earlier process was killed. Several processes and machines can work on one study;
    each trial runs once.

    References
    ----------
    .. [1] T. Akiba, S. Sano, T. Yanase, T. Ohta and M. Koyama, "Optuna: A
       Next-generation Hyperparameter Optimization Framework", ACM SIGKDD Conference on
       Knowledge Discovery and Data Mining, 2019.

    .. [2] G. C. Cawley and N. L. C. Talbot, "On over-fitting in model selection and
       subsequent selection bias in performance evaluation", Journal of Machine
       Learning Research 11, 2010.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from sklstm import OptunaSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = OptunaSearchCV(
    ...     SVC(), {"C": loguniform(0.01, 100)}, n_trials=10, random_state=0
    ... ).fit(X, y)
    >>> print(f"{search.best_score_:.1f}")
    1.0
    """

    _parameter_constraints: dict = {
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, callable],
        "n_trials": [Interval(numbers.Integral, 1, None, closed="left")],
        "timeout": [Interval(numbers.Real, 0, None, closed="left"), None],
        "sampler": "no_validation",
        "pruner": "no_validation",
        "storage": "no_validation",
        "study_name": [str, None],
        "refit_epochs": [StrOptions({"median_best"}), None],
        "n_finalists": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_repeats": [Interval(numbers.Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "callbacks": [list, tuple, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_trials: int = 20,
        timeout: float | None = None,
        sampler: Any = None,
        pruner: Any = None,
        storage: Any = None,
        study_name: str | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        refit_epochs: str | None = None,
        n_finalists: int = 5,
        n_repeats: int = 0,
        cv: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Any = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.timeout = timeout
        self.sampler = sampler
        self.pruner = pruner
        self.storage = storage
        self.study_name = study_name
        self.refit_epochs = refit_epochs
        self.n_finalists = n_finalists
        self.n_repeats = n_repeats
        self.random_state = random_state
        self.callbacks = callbacks

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> OptunaSearchCV:
        """Run the search, then fit the best estimator on all data.

        Parameters
        ----------
        X : array-like of length n_samples
            Samples, as the estimator takes them.
        y : array-like of length n_samples, default=None
            Targets.
        **params : dict
            ``groups`` goes to the splitter. All other parameters go to the estimator's
            `fit`; those that are as long as X are cut to the folds. With metadata
            routing enabled, parameters go to the objects that request them.

        Returns
        -------
        self : OptunaSearchCV
            The fitted search.

        Raises
        ------
        TypeError
            If a parameter has a type that cannot be used.
        ValueError
            If a parameter has a value that cannot be used, if the storage cannot be
            opened, if a stored study does not fit the search, or if no trial was
            completed.
        """
        self._validate_params()
        check_space(self.param_distributions)
        self._check_optuna_objects()
        self._check_refit_epochs()
        self._check_ensemble()
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        scorers, refit_metric = self._get_scorers()
        several = getattr(scorers, "_scorers", None)
        watched = self._watched_metric(several)
        X, y = indexable(X, y)
        params = check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = self._split(splitter, X, y, routed.splitter.split)
        seeds = self._seeds()
        # Before the search, so that folds that cannot be drawn anew fail at once.
        repeats = [
            list(shuffled(splitter, seed).split(X, y, **routed.splitter.split))
            for seed in seeds[1:]
        ]

        with quiet_optuna():
            study = self._open_study(X, y, splits, watched)
            job = TrialJob(
                estimator=clone(self.estimator),
                X=X,
                y=y,
                splits=splits,
                scorer=scorers,
                refit_metric=watched,
                fit_params=routed.estimator.fit,
                score_params=routed.scorer.score,
                error_score=self.error_score,
                return_train_score=self.return_train_score,
                epoch_pruner=study.pruner,
                fold_pruner=self._make_pruner(n_warmup_steps=0),
            )
            self._run_trials(study, job, seeds[0])
        self.study_ = study
        trials = [one for one in finished_trials(study) if FOLDS in one.user_attrs]
        refit_metric = self._collect_results(trials, refit_metric)
        finalists = []
        if self.n_repeats or self.refit == "ensemble":
            # With several metrics and refit=False, the study's metric chooses them.
            ranked = f"rank_test_{refit_metric}" in self.cv_results_
            first = metric_names(trials)[0]
            chosen_by = refit_metric if ranked else first
            finalists = finalists_of(self.cv_results_, chosen_by, self.n_finalists)
        if self.n_repeats:
            self._repeat(job, finalists, repeats)
        if self.refit or not self.multimetric_:
            self._choose_best(refit_metric, finalists)
        if self.refit:
            self._refit_best(X, y, routed.estimator.fit, trials, finalists)
        self.scorer_ = scorers if several is None else several
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _check_optuna_objects(self) -> None:
        for name, kind, example in (
            ("sampler", optuna.samplers.BaseSampler, "optuna.samplers.RandomSampler()"),
            ("pruner", optuna.pruners.BasePruner, "optuna.pruners.NopPruner()"),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"{name}={value!r} must be a {name} of Optuna, such as {example}, "
                    "or None."
                )
        for callback in self.callbacks or ():
            if not callable(callback):
                raise TypeError(
                    f"callbacks holds {callback!r}, which cannot be called: give "
                    "functions callback(study, trial)."
                )

    def _check_refit_epochs(self) -> None:
        if self.refit_epochs is not None and not trains_by_epochs(self.estimator):
            final = final_step(self.estimator)[1]
            raise ValueError(
                f"refit_epochs='median_best' needs an estimator that trains by epochs, "
                f"which {type(final).__name__} does not: set refit_epochs=None."
            )

    def _check_ensemble(self) -> None:
        if self.refit == "ensemble" and not (
            is_classifier(self.estimator) and hasattr(self.estimator, "predict_proba")
        ):
            raise ValueError(
                "refit='ensemble' averages probabilities, and "
                f"{type(self.estimator).__name__} gives none: use refit=True."
            )

    def _seeds(self) -> list[int]:
        """Return the seed of the sampler and one for the folds of each repeat."""
        random = check_random_state(self.random_state)
        return random.randint(2**31 - 1, size=1 + self.n_repeats).tolist()

    def _watched_metric(self, several: dict | None) -> str:
        """Return the metric that the study and the pruner see."""
        if isinstance(self.refit, str) and self.refit != "ensemble":
            return self.refit
        return "score" if several is None else next(iter(several))

    def _make_pruner(self, n_warmup_steps: int) -> optuna.pruners.BasePruner:
        return median_pruner(n_warmup_steps) if self.pruner is None else self.pruner

    def _split(self, splitter: Any, X: Any, y: Any, params: dict) -> list[tuple]:
        """Draw the folds once for all trials."""
        splits = list(splitter.split(X, y, **params))
        if not splits:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no "
                "candidates?"
            )
        self.n_splits_ = len(splits)
        expected = splitter.get_n_splits(X, y, **params)
        if expected != len(splits):
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected "
                f"{expected} splits, got {len(splits)}"
            )
        return splits

    def _open_study(
        self, X: Any, y: Any, splits: list[tuple], watched: str
    ) -> optuna.Study:
        study = open_study(
            self.storage,
            self.study_name,
            self.sampler,
            self._make_pruner(n_warmup_steps=2),
            (X, y, splits, describe_scoring(self.scoring), watched),
            describe(self.estimator),
        )
        check_choices(self.param_distributions, study)
        if self.sampler is not None and study.trials:
            # Otherwise a sampler with a fixed seed repeats the trials of the study.
            study.sampler.reseed_rng()
        return study

    def _run_trials(self, study: optuna.Study, job: TrialJob, seed: int) -> None:
        runner = TrialRunner(
            study,
            self.param_distributions,
            n_trials=self.n_trials,
            timeout=self.timeout,
            seed=seed if self.sampler is None else None,
            n_jobs=self.n_jobs,
            callbacks=self.callbacks or (),
            shared=self.storage is not None,
            progress=bool(self.verbose),
        )
        runner.run(job)

    def _collect_results(self, trials: list[FrozenTrial], refit_metric: Any) -> str:
        """Set `cv_results_` and return the name of the metric that chooses the best."""
        if not trials:
            raise ValueError(
                f"No trial was finished: timeout={self.timeout} was over before."
            )
        # The warning points at the line that calls `fit`.
        report_failures(trials, stacklevel=2 + FRAMES_OF_FIT)
        names = metric_names(trials)
        self.multimetric_ = names != ["score"]
        if self.multimetric_ and callable(self.scoring):
            self._check_refit_for_multimetric(names)
            refit_metric = self.refit
        missing = np.nan if self.error_score == "raise" else self.error_score
        rows = fold_rows(
            trials, names, self.n_splits_, missing, self.return_train_score
        )
        space, study_name = self.param_distributions, self.study_name
        params = [params_of(trial, space, study_name) for trial in trials]
        with warnings.catch_warnings():
            if any(trial.state.name != "COMPLETE" for trial in trials):
                # scikit-learn would warn of the NaN scores of pruned and failed trials.
                warnings.filterwarnings("ignore", "One or more of the .* scores are")
            results = self._format_results(params, self.n_splits_, rows)
        add_trial_columns(results, trials)
        rank_completed_first(results, names)
        self.cv_results_ = results
        return refit_metric if isinstance(refit_metric, str) else "score"

    def _repeat(self, job: TrialJob, finalists: list[int], repeats: list) -> None:
        """Cross-validate the finalists again and add the scores to `cv_results_`."""
        results = self.cv_results_
        names = [
            n.removeprefix("rank_test_") for n in results if n[:10] == "rank_test_"
        ]
        params = [results["params"][row] for row in finalists]
        with quiet_optuna():
            scores = repeat(job, params, repeats, self.n_jobs)
        add_repeats(results, finalists, scores, names)

    def _choose_best(self, metric: str, finalists: list[int]) -> None:
        results = self.cv_results_
        if self.n_repeats and not callable(self.refit):
            self.best_index_ = best_of_repeats(results, finalists, metric)
            self.best_score_ = results[f"mean_repeated_test_{metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
            return
        self.best_index_ = self._select_best_index(self.refit, metric, results)
        if results["trial_state"][self.best_index_] != "COMPLETE":
            raise ValueError(
                f"refit chose trial {self.best_index_}, which was not completed: "
                "let it look at cv_results_['trial_state']."
            )
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit_best(
        self,
        X: Any,
        y: Any,
        fit_params: dict,
        trials: list[FrozenTrial],
        finalists: list[int],
    ) -> None:
        start = time.perf_counter()
        if self.refit == "ensemble":
            fitted = {
                f"trial_{trials[row].number}": self._refit(
                    row, X, y, fit_params, trials
                )
                for row in finalists
            }
            self.best_estimator_ = average(fitted, X, y)
        else:
            self.best_estimator_ = self._refit(
                self.best_index_, X, y, fit_params, trials
            )
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _refit(
        self, row: int, X: Any, y: Any, fit_params: dict, trials: list[FrozenTrial]
    ) -> Any:
        """Return the estimator of a trial, fitted on all data."""
        params = clone(self.cv_results_["params"][row], safe=False)
        estimator = clone(self.estimator).set_params(**params)
        if self.refit_epochs is not None:
            prefix, _ = final_step(self.estimator)
            epochs = int(np.median([f["best_epoch"] for f in folds_of(trials[row])]))
            estimator.set_params(
                **{f"{prefix}epochs": max(1, epochs), f"{prefix}early_stopping": False}
            )
        args = (X,) if y is None else (X, y)
        estimator.fit(*args, **fit_params)
        return estimator
