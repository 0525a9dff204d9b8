from __future__ import annotations

import numbers
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
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
from sklstm.model_selection._space import (
    check_choices,
    check_space,
    plain_params,
    suggest,
)

if TYPE_CHECKING:
    import optuna

    from sklstm.model_selection._study import Workers
    from sklstm.model_selection._trial import Outcome, TrialJob


class OptunaSearchCV(BaseSearchCV, CallbackSupportMixin):
    """Search hyperparameters by cross-validation, Optuna choosing what to try next.

    Used as `sklearn.model_selection.RandomizedSearchCV`, for any estimator, with
    `n_trials` in place of `n_iter`. With an `LSTMImageClassifier`, alone or at the end
    of a Pipeline, trials that fall behind are pruned in the middle of a fit.

    Parameters
    ----------
    estimator : estimator
        What is searched. It is cloned, not changed.
    param_distributions : dict or callable
        Parameter names to Optuna distributions, frozen scipy.stats distributions or
        lists of values, drawn with repeats; `suggest_space` makes one. Or a function
        ``trial -> params``
        for spaces in which one choice depends on another.
    n_trials : int, default=20
        Trials to finish: completed, pruned or failed.
    timeout : float, default=None
        Seconds after which no trial is begun.
    sampler : optuna.samplers.BaseSampler, default=None
        None for a `TPESampler` seeded with `random_state`.
    pruner : optuna.pruners.BasePruner, default=None
        Decides whether to stop a trial early. In each fold, the search scores the
        network on the fold's test part after each tenth of the training, and the
        pruner compares the score with those of earlier trials at the same point of the
        same fold: its steps are the tenths that are completed, 1 to 10, whatever the
        number of epochs. With fewer than ten epochs it is asked after each, at the
        steps that are completed then. After each fold it compares the mean of the
        folds so far, at steps counted from 0. None for a `MedianPruner` after 5 trials
        and 2 steps; `optuna.pruners.NopPruner` for none.
    storage : str or optuna.storages.BaseStorage, default=None
        Where Optuna keeps the trials; None for memory.
    study_name : str, default=None
        With a storage, a study of that name is continued, by a search of the same
        estimator on the same data; the space may have changed, but for the values of
        lists. None begins a new study with every fit; in a storage it is kept, and
        never continued.
    scoring : str, callable, list, tuple or dict, default=None
        As in `GridSearchCV`. Of several metrics, the study and the pruner look at the
        one that `refit` names, else at the first.
    n_jobs : int, default=None
        Trials at a time. Threads, unless `joblib.parallel_config` names a backend.
    refit : bool, str or callable, default=True
        As in `GridSearchCV`.
    refit_epochs : {"median_best"}, default=None
        "median_best" trains `best_estimator_` on all data, without early stopping, for
        the median of the best epochs over the folds of the best trial. None leaves the
        parameters as found.
    cv : int, splitter or iterable, default=None
        As in `GridSearchCV`. The splits are drawn once for all trials.
    error_score : "raise" or float, default=nan
        Score of a fold whose fit or scoring failed.
    return_train_score : bool, default=False
        Score the training parts too.
    random_state : int, RandomState or None, default=None
        Seeds the sampler. With one job, the whole search can be repeated.
    verbose : int, default=0
        1 shows a progress bar.
    callbacks : list of callable, default=None
        ``callback(study, trial)`` after every finished trial, as Optuna's; one that
        returns True ends the search.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in `GridSearchCV`, one row per finished trial in the order of their numbers;
        folds that were not run score NaN and took 0 s. Besides: ``trial_number``,
        ``trial_state`` ("COMPLETE", "PRUNED", "FAIL"), ``n_epochs`` over all folds, and
        ``failure``.
    best_estimator_, best_score_, best_params_, best_index_ : object
        As in `GridSearchCV`. A pruned trial is never the best.
    study_ : optuna.Study
        For Optuna's own plots.
    n_splits_ : int
        Folds.
    scorer_ : callable or dict
        As in `GridSearchCV`.
    multimetric_ : bool
        Whether there are several metrics.
    refit_time_ : float
        Seconds the last fit took.
    classes_, n_features_in_, feature_names_in_ : ndarray or int
        Of the best estimator.

    See Also
    --------
    suggest_space : A space for an estimator of this package.

    Notes
    -----
    The folds of a trial run one after another, so that a trial that is pruned in the
    first never begins the second; `n_jobs` runs trials side by side.

    A study that is continued goes on where it was left, also after its process was
    killed: what was running then is begun again. Several processes and machines can
    work on one study at a time; each trial is done once.

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
        self.random_state = random_state
        self.callbacks = callbacks

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> OptunaSearchCV:
        """Search, then fit the best on all data.

        Parameters
        ----------
        X : array-like of length n_samples
            What the estimator takes.
        y : array-like of length n_samples, default=None
            Targets.
        **params : dict
            ``groups`` for the splitter; all else for the estimator's `fit`, cut to the
            folds where it is as long as X. With metadata routing, to whoever asks.

        Returns
        -------
        self : OptunaSearchCV
            The fitted search.

        Raises
        ------
        ValueError
            If a parameter cannot be used, or every trial failed.
        """
        from sklstm.model_selection._study import (
            Workers,
            describe,
            open_study,
            quiet_optuna,
        )
        from sklstm.model_selection._trial import TrialJob

        self._validate_params()
        space = self.param_distributions
        check_space(space)
        self._check_optuna_objects()
        if self.refit_epochs is not None:
            _epochs_prefix(self.estimator)  # raises where there are none
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        scorers, refit_metric = self._get_scorers()
        several = getattr(scorers, "_scorers", None)
        if several is not None and not isinstance(self.refit, str):
            watched = next(iter(several))
        else:
            watched = self.refit if isinstance(self.refit, str) else "score"
        X, y = indexable(X, y)
        params = check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **routed.splitter.split))
        if not splits:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no "
                "candidates?"
            )
        self.n_splits_ = len(splits)
        expected = splitter.get_n_splits(X, y, **routed.splitter.split)
        if expected != len(splits):
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected "
                f"{expected} splits, got {len(splits)}"
            )

        with quiet_optuna():
            study = open_study(
                self.storage,
                self.study_name,
                self.sampler,
                self._make_pruner(2),
                (X, y, splits, _names(self.scoring), watched),
                describe(self.estimator),
            )
            check_choices(space, study)
            if self.sampler is not None and study.trials:
                study.sampler.reseed_rng()  # not the same trials once more
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
                pruner=study.pruner,
                ends_pruner=self._make_pruner(0),
            )
            with Workers(study, shared=self.storage is not None) as workers:
                self._search(study, workers, job)
        self.study_ = study
        self._gather(study, refit_metric)
        if self.refit:
            self._refit_best(X, y, routed.estimator.fit)
        self.scorer_ = scorers if several is None else several
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _check_optuna_objects(self) -> None:
        import optuna

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

    def _make_pruner(self, n_warmup_steps: int) -> Any:
        import optuna

        if self.pruner is not None:
            return self.pruner
        return optuna.pruners.MedianPruner(
            n_startup_trials=5, n_warmup_steps=n_warmup_steps
        )

    def _search(self, study: optuna.Study, workers: Workers, job: TrialJob) -> None:
        """Run trials until there are enough, time is up or a callback says so."""
        from sklstm.model_selection._parallel import in_parallel, in_turn
        from sklstm.model_selection._study import PARAMS

        end = time.monotonic() + (np.inf if self.timeout is None else self.timeout)
        stopped = False
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        errors: list[BaseException] = []

        def jobs() -> Iterator[tuple]:
            while not stopped and time.monotonic() < end:
                try:
                    trial = workers.ask(self.n_trials)
                    if trial is None:
                        return
                    if self.sampler is None:
                        # By the trial's number: a search that goes on, or a second
                        # process, does not draw what was drawn before.
                        study.sampler = _sampler(seed, trial.number, n_jobs)
                    params = suggest(self.param_distributions, trial)
                    trial.set_user_attr(PARAMS, plain_params(params))
                    parts = params, _earlier(study)
                except BaseException as error:
                    # joblib may be the caller, in a thread that must not end by it.
                    errors.append(error)
                    return
                yield trial, *parts

        n_jobs = effective_n_jobs(self.n_jobs)
        make = in_turn if n_jobs == 1 else in_parallel
        with self._progress(study) as bar:
            # An error must end the running trials now, not when the generator that
            # gives them is collected as garbage.
            outcomes = make(job, jobs(), n_jobs)
            try:
                for trial, outcome in outcomes:
                    try:
                        self._tell(study, trial, outcome)
                    except (RuntimeError, ValueError):
                        # Another machine took this one for dead: the trial is its.
                        if not study.trials[trial.number].state.is_finished():
                            raise
                    workers.done(trial)
                    frozen = study.trials[trial.number]
                    for callback in self.callbacks or ():
                        stopped |= callback(study, frozen) is True
                    bar(frozen)
            finally:
                stopped = True
                outcomes.close()
        if errors:
            raise errors[0]

    def _tell(self, study: Any, trial: Any, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        from sklstm.model_selection._study import FAILURE, FOLDS

        trial.set_user_attr(FOLDS, {"folds": outcome.folds, "ends": outcome.ends})
        if outcome.failure:
            trial.set_user_attr(FAILURE, outcome.failure)
        means = outcome.ends.get("values", [])
        for step, mean in enumerate(means):
            trial.report(mean, step)
        if outcome.state == "COMPLETE":
            study.tell(trial, means[-1])
        else:
            study.tell(trial, state=TrialState[outcome.state])

    def _progress(self, study: Any) -> Any:
        return _Bar(self.n_trials, study) if self.verbose else nullcontext(lambda _: 0)

    def _gather(self, study: optuna.Study, refit_metric: str) -> None:
        """Make `cv_results_` and the best of it from the study's finished trials."""
        from sklstm.model_selection._study import FAILURE, FINISHED, FOLDS, counts

        trials = [
            trial
            for trial in study.get_trials(deepcopy=False, states=FINISHED)
            if counts(trial) and FOLDS in trial.user_attrs
        ]
        if not trials:
            raise ValueError(
                f"No trial was finished: timeout={self.timeout} was over before."
            )
        states = [trial.state.name for trial in trials]
        failures = [trial.user_attrs.get(FAILURE, "") for trial in trials]
        self._report_failures(states, failures)
        folds = [trial.user_attrs[FOLDS]["folds"] for trial in trials]
        names = next(
            fold["test"] for trial in folds for fold in trial if "test" in fold
        )
        self.multimetric_ = set(names) != {"score"}
        if self.multimetric_ and callable(self.scoring):
            self._check_refit_for_multimetric(names)
            refit_metric = self.refit
        missing = np.nan if self.error_score == "raise" else self.error_score
        rows = []
        for trial, state in zip(folds, states, strict=True):
            for k in range(self.n_splits_):
                fold = trial[k] if k < len(trial) else {}
                # What was not run has no score; what failed has the error's.
                empty = missing if state == "FAIL" else np.nan
                rows.append(_row(fold, dict.fromkeys(names, empty), self))
        candidates = [self._params_of(trial) for trial in trials]
        with warnings.catch_warnings():
            if "PRUNED" in states or "FAIL" in states:
                # Told in trial_state; scikit-learn would warn of every NaN again.
                warnings.filterwarnings("ignore", "One or more of the .* scores are")
            results = self._format_results(candidates, self.n_splits_, rows)
        results["trial_number"] = np.array([trial.number for trial in trials])
        results["trial_state"] = np.array(states)
        results["n_epochs"] = np.array(
            [sum(fold.get("n_epochs", 0) for fold in trial) for trial in folds]
        )
        results["failure"] = np.array(failures, dtype=object)
        complete = results["trial_state"] == "COMPLETE"
        for name in names if self.multimetric_ else ("score",):
            # What failed or was pruned comes last, whatever error_score says.
            means = np.where(complete, results[f"mean_test_{name}"], -np.inf)
            ranks = rankdata(-means, method="min").astype(np.int32)
            results[f"rank_test_{name}"] = ranks
        self.cv_results_ = results
        self._folds = folds
        if self.refit or not self.multimetric_:
            metric = refit_metric if isinstance(refit_metric, str) else "score"
            self.best_index_ = self._select_best_index(self.refit, metric, results)
            if not complete[self.best_index_]:
                raise ValueError(
                    f"refit chose trial {self.best_index_}, which was not completed: "
                    "let it look at cv_results_['trial_state']."
                )
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]

    def _params_of(self, trial: Any) -> dict[str, Any]:
        """Return what the estimator was given in a finished trial."""
        from optuna.trial import FixedTrial

        from sklstm.model_selection._study import PARAMS

        # As they were: the space may be another one than when the trial ran.
        params = trial.user_attrs.get(PARAMS)
        if params is not None:
            return params
        try:
            return suggest(self.param_distributions, FixedTrial(trial.params))
        except ValueError:
            raise ValueError(
                f"Trial {trial.number} of the study {self.study_name!r} was made in "
                "another space, with values that are not plain and that only that "
                "space has: give another study_name."
            ) from None

    def _report_failures(self, states: list[str], failures: list[str]) -> None:
        failed = [why for why in failures if why]
        if "COMPLETE" not in states:
            if not failed:
                raise ValueError(
                    f"All {len(states)} trials were pruned: use a pruner that starts "
                    "later, or optuna.pruners.NopPruner()."
                )
            rest = " that were not pruned" if "PRUNED" in states else ""
            raise ValueError(
                f"All {len(failed)} trials{rest} failed, the first with {failed[0]}"
            )
        if not failed:
            return
        warnings.warn(
            f"{len(failed)} of {len(states)} trials failed (see "
            f"cv_results_['failure']), the first with {failed[0]}",
            FitFailedWarning,
            stacklevel=3 + FRAMES_OF_FIT,  # the line that calls fit
        )

    def _refit_best(self, X: Any, y: Any, fit_params: dict) -> None:
        best = clone(self.best_params_, safe=False)
        self.best_estimator_ = clone(self.estimator).set_params(**best)
        if self.refit_epochs is not None:
            prefix = _epochs_prefix(self.estimator)
            epochs = [fold["best_epoch"] for fold in self._folds[self.best_index_]]
            self.best_estimator_.set_params(
                **{
                    f"{prefix}epochs": max(1, int(np.median(epochs))),
                    f"{prefix}early_stopping": False,
                }
            )
        start = time.perf_counter()
        args = (X,) if y is None else (X, y)
        self.best_estimator_.fit(*args, **fit_params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


def _names(scoring: Any) -> Any:
    """Return what a scoring is called: no address, so the same in every process."""
    if isinstance(scoring, dict):
        return {name: _names(scorer) for name, scorer in scoring.items()}
    return getattr(scoring, "__qualname__", None) or str(scoring)


def _epochs_prefix(estimator: Any) -> str:
    """Return where `epochs` of the final estimator is set, or raise."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    if not {"epochs", "early_stopping"} <= set(estimator.get_params(deep=False)):
        raise ValueError(
            f"refit_epochs='median_best' needs an estimator that trains by epochs, "
            f"which {type(estimator).__name__} does not: set refit_epochs=None."
        )
    return prefix


def _earlier(study: optuna.Study) -> list[dict]:
    """Return the finished trials' stretches, for a trial to be compared with."""
    from optuna.pruners import NopPruner
    from optuna.trial import TrialState

    from sklstm.model_selection._study import FOLDS

    if isinstance(study.pruner, NopPruner):
        return []
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        {**trial.user_attrs[FOLDS], "pruned": trial.state is TrialState.PRUNED}
        for trial in study.get_trials(deepcopy=False, states=states)
        if FOLDS in trial.user_attrs
    ]


def _sampler(seed: int, number: int, n_jobs: int) -> Any:
    import optuna

    mixed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=mixed, constant_liar=n_jobs > 1)


def _row(fold: dict, empty: dict, search: OptunaSearchCV) -> dict:
    row = {
        "test_scores": fold.get("test", empty),
        "n_test_samples": fold.get("n_test", 0),
        "fit_time": fold.get("fit_time", 0.0),
        "score_time": fold.get("score_time", 0.0),
        "fit_error": None,
    }
    if search.return_train_score:
        row["train_scores"] = fold.get("train", empty)
    if not search.multimetric_:
        for key in ("test_scores", "train_scores"):
            if key in row:
                row[key] = row[key]["score"]
    return row


class _Bar:
    """A bar on stderr: trials done, the best score, time left."""

    def __init__(self, n_trials: int, study: Any) -> None:
        from tqdm.auto import tqdm

        from sklstm.model_selection._study import FINISHED, counts

        done = study.get_trials(deepcopy=False, states=FINISHED)
        self.bar = tqdm(total=n_trials, initial=sum(map(counts, done)), unit="trial")
        self.best = -np.inf

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()

    def __call__(self, trial: Any) -> None:
        if trial.state.name == "COMPLETE":
            self.best = max(self.best, trial.value)
        self.bar.set_postfix(best=f"{self.best:.4f}", refresh=False)
        self.bar.update()
