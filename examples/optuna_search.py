"""
A search that prunes
====================

Optuna searches sequence length, dropout and learning rate of a Pipeline on 300 digits.
A trial that falls behind the others is stopped in the middle of a fit, and its later
folds are not begun. The script searches with and without pruning, compares what they
cost and found, and draws the history. It takes about two minutes on two cores.
"""

import argparse
import time

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline

from sklstm import LSTMImageClassifier, OptunaSearchCV, RowSequencer
from sklstm.inspection import SearchDisplay
from sklstm.model_selection import suggest_space

parser = argparse.ArgumentParser(description="Optuna searches a Pipeline.")
parser.add_argument("--out", default="optuna_search.png", help="where the picture goes")
parser.add_argument("--n-trials", type=int, default=30)
arguments, _ = parser.parse_known_args()

# %%
# 300 digits to search on, the other 1,497 to test the winner once.

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images.astype("uint8"),
    digits.target,
    train_size=300,
    stratify=digits.target,
    random_state=0,
)

# %%
# A space is a dict of distributions; this one is ready-made, and can be changed.

model = Pipeline(
    [("seq", RowSequencer()), ("clf", LSTMImageClassifier(epochs=40, random_state=0))]
)
space = suggest_space(model, image_shape=(8, 8))
for name, distribution in space.items():
    print(f"{name:20} {distribution}")

# %%
# The same search twice: every trial to its end, and with the default pruner.

searches = {}
for name, pruner in (("unpruned", optuna.pruners.NopPruner()), ("pruned", None)):
    start = time.perf_counter()
    searches[name] = search = OptunaSearchCV(
        model,
        space,
        n_trials=arguments.n_trials,
        pruner=pruner,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        random_state=0,
    ).fit(X_train, y_train)
    print(
        f"{name:9} {search.cv_results_['n_epochs'].sum():5} epochs, "
        f"{time.perf_counter() - start:4.0f} s, best of the folds "
        f"{search.best_score_:.3f}, test {search.score(X_test, y_test):.3f}"
    )
defaults = model.fit(X_train, y_train)
print(f"defaults {'':41} test {defaults.score(X_test, y_test):.3f}")

# %%
# The history, and which of the parameters mattered.

display = SearchDisplay.from_estimator(searches["pruned"])
if "__file__" in globals():
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
