"""
A search on a Dask cluster
==========================

The same search, its trials spread over the workers of a cluster: here two processes of
this machine, or those of a scheduler that runs already (``--scheduler HOST:PORT``).
With ``--storage`` the trials are kept, and the script can be killed and run again.
Needs ``pip install -e ".[distributed]"``. It takes about two minutes on two cores.
"""

import argparse
import time

import joblib
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, OptunaSearchCV, RowSequencer
from sklstm.model_selection import suggest_space


def main():
    parser = argparse.ArgumentParser(description="Optuna searches on a Dask cluster.")
    parser.add_argument("--scheduler", help="HOST:PORT; none starts two workers here")
    parser.add_argument("--storage", help="such as sqlite:///digits.db")
    parser.add_argument("--n-trials", type=int, default=16)
    arguments = parser.parse_args()

    from distributed import Client

    digits = load_digits()
    X, y = digits.images[:300].astype("uint8"), digits.target[:300]
    model = make_pipeline(RowSequencer(), LSTMImageClassifier(random_state=0))
    search = OptunaSearchCV(
        model,
        suggest_space(model, image_shape=(8, 8)),
        n_trials=arguments.n_trials,
        n_jobs=-1,
        cv=3,
        storage=arguments.storage,
        study_name=None if arguments.storage is None else "digits",
        random_state=0,
    )
    if arguments.scheduler is None:
        client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    else:
        client = Client(arguments.scheduler)
    with client, joblib.parallel_config(backend="dask"):
        start = time.perf_counter()
        search.fit(X, y)
        print(
            f"{len(search.cv_results_['params'])} trials on "
            f"{len(client.scheduler_info()['workers'])} workers in "
            f"{time.perf_counter() - start:.0f} s, best {search.best_score_:.3f} with "
            f"{search.best_params_}"
        )


if __name__ == "__main__":  # the workers import this file
    main()
