"""
An LSTM learns digits
=====================

A scikit-learn Pipeline classifies images of handwritten digits. Its first step makes a
sequence of the rows of each image, and its second step reads the sequence with an LSTM.
The script cross-validates the defaults, searches sequence length, dropout and learning
rate, and tests the best parameters on images that it has not used before. It takes
about half a minute on two cores.
"""

import argparse
import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import Pipeline

from sklstm import LSTMImageClassifier, RowSequencer

parser = argparse.ArgumentParser(description="An LSTM learns digits.")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# There are 1,797 images of 8 x 8 pixels. A quarter of them is kept for the final test.

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
)
print(f"{len(X_train)} images to train on, {len(X_test)} to test, {X_train.shape[1:]}")

# %%
# Cross-validate the Pipeline with default parameters over five folds.

model = Pipeline(
    [("seq", RowSequencer()), ("clf", LSTMImageClassifier(random_state=0))]
)
start = time.perf_counter()
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = cross_val_score(model, X_train, y_train, cv=folds)
print(
    f"defaults, 5 folds: accuracy {scores.mean():.3f} +- {scores.std():.3f} "
    f"in {time.perf_counter() - start:.0f} s"
)

# %%
# Search a small grid. scikit-learn 1.9 and newer show the progress of the search as a
# bar; a larger ``max_propagation_depth`` would also show every fit and every epoch.

search = GridSearchCV(
    model.set_params(clf__epochs=15),
    {
        "seq__sequence_length": [5, 8],
        "clf__dropout": [0.2, 0.4],
        "clf__learning_rate": [1e-3, 4e-3],
    },
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
    refit=False,
)
try:
    from sklearn.callback import ProgressBar

    search.set_callbacks(ProgressBar(max_propagation_depth=0))
except ImportError:
    print("searching ...")
start = time.perf_counter()
search.fit(X_train, y_train)
best = search.best_params_
print(
    f"search (15 epochs, 2 folds): {search.best_score_:.3f} with "
    + ", ".join(f"{name} {value}" for name, value in best.items())
    + f" in {time.perf_counter() - start:.0f} s"
)

# %%
# Train the best parameters for the default number of epochs, and test them once.

model.set_params(**best, clf__epochs=LSTMImageClassifier().epochs)
model.fit(X_train, y_train)
print(f"test accuracy: {model.score(X_test, y_test):.3f}")

# %%
# Draw the learning curve, and which digits the model confuses.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
history = model["clf"].history_
epochs = range(1, len(history["loss"]) + 1)
left.plot(epochs, history["loss"], label="training loss")
left.plot(epochs, history["accuracy"], label="training accuracy")
left.set(xlabel="epoch", title="Learning curve", ylim=(0, None))
left.legend()
left.grid(alpha=0.3)
ConfusionMatrixDisplay.from_estimator(
    model, X_test, y_test, ax=right, cmap="Blues", colorbar=False
)
right.set_title(f"Test images, accuracy {model.score(X_test, y_test):.3f}")
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
