"""
A search that prunes
====================

Optuna searches the parameters of a Pipeline on 300 digits. Pruning stops a trial that
falls behind the others in the middle of a fit, and skips its other folds. The script
searches with and without pruning, and compares the cost and the accuracy of both. It
takes about two minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/optuna_search.png'

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
parser.add_argument("--out", help="file for the picture")
parser.add_argument("--n-trials", type=int, default=30)
arguments, _ = parser.parse_known_args()

# %%
# Search on 300 digits. The other 1,497 test the best model once.

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images.astype("uint8"),
    digits.target,
    train_size=300,
    stratify=digits.target,
    random_state=0,
)

# %%
# The search space is a dict of distributions. `suggest_space` makes one for a model,
# and you can change it before the search.

model = Pipeline(
    [("seq", RowSequencer()), ("clf", LSTMImageClassifier(epochs=40, random_state=0))]
)
space = suggest_space(model, image_shape=(8, 8))
for name, distribution in space.items():
    print(f"{name:20} {distribution}")

# %%
# Run the same search twice, once without pruning and once with the default pruner.

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
# Draw the history of the search and the importance of the parameters.

display = SearchDisplay.from_estimator(searches["pruned"])
if arguments.out is not None:
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/optuna_search.py --out optuna_search.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/optuna_search.txt
#    :language: none
#
# .. image:: /images/optuna_search.png
#    :alt: The history of the search, and the importance of the parameters.
