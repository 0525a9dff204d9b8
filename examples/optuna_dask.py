"""
A search on a Dask cluster
==========================

A search spreads its trials over the workers of a Dask cluster. The script starts two
workers on this machine, or uses a cluster that is already running (``--scheduler
HOST:PORT``). With ``--storage`` Optuna keeps the trials, so that you can stop the
script and run it again.

It needs ``pip install -e ".[distributed]"``, and takes about two minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/optuna_dask.png'

import argparse
import time

import joblib
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, OptunaSearchCV, RowSequencer
from sklstm.model_selection import suggest_space

# %%
# Draw each trial as a bar from its start to its end.


def draw(study, out):
    import matplotlib.pyplot as plt

    trials = [trial for trial in study.trials if trial.datetime_complete is not None]
    first = min(trial.datetime_start for trial in trials)
    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for state, color in (("COMPLETE", "C0"), ("PRUNED", "0.7"), ("FAIL", "C3")):
        chosen = [trial for trial in trials if trial.state.name == state]
        if chosen:
            axis.barh(
                [trial.number for trial in chosen],
                [trial.duration.total_seconds() for trial in chosen],
                left=[(t.datetime_start - first).total_seconds() for t in chosen],
                color=color,
                label=state.lower(),
            )
    axis.set(xlabel="seconds", ylabel="trial", title="Trials over time")
    axis.invert_yaxis()
    axis.legend()
    figure.savefig(out, dpi=110)
    print(f"picture: {out}")


# %%
# ``joblib.parallel_config(backend="dask")`` sends the trials to the cluster. The
# workers import this file, so the search must not start on import.


def main():
    parser = argparse.ArgumentParser(description="Optuna searches on a Dask cluster.")
    parser.add_argument("--scheduler", help="HOST:PORT; none starts two workers here")
    parser.add_argument("--storage", help="such as sqlite:///digits.db")
    parser.add_argument("--n-trials", type=int, default=16)
    parser.add_argument("--out", help="file for the picture")
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
    if arguments.out is not None:
        draw(search.study_, arguments.out)


if __name__ == "__main__":
    main()

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/optuna_dask.py --out optuna_dask.png``
# (TensorFlow on one thread in each worker, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/optuna_dask.txt
#    :language: none
#
# .. image:: /images/optuna_dask.png
#    :alt: The trials as bars over time; two run side by side.
