"""Accuracy of the defaults on scikit-learn's digits, compared with an SVC and a forest.

    python benchmarks/digits.py [--seeds 3] [--small]

Prints the mean and the standard deviation over five stratified folds, in file order and
shuffled, for each seed. With ``--small``, prints the accuracy after training on 40, 100
and 200 images, tested on the others.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, RowSequencer


def flatten(images):
    return images.reshape(len(images), -1) / 16


def lstm(seed, **params):
    classifier = LSTMImageClassifier(random_state=seed, **params)
    return make_pipeline(RowSequencer(), classifier)


def control(estimator):
    return make_pipeline(FunctionTransformer(flatten), estimator)


def estimators(seed):
    yield "defaults", lstm(seed)
    yield "no input noise", lstm(seed, input_noise=0)
    yield "SVC(C=10)", control(SVC(C=10))
    yield "random forest", control(RandomForestClassifier(random_state=seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="train on few images")
    arguments = parser.parse_args()
    digits = load_digits()
    X, y = digits.images, digits.target
    if arguments.small:
        for n in (40, 100, 200):
            scores: dict[str, list[float]] = {}
            for seed in range(arguments.seeds):
                train, test, y_train, y_test = train_test_split(
                    X, y, train_size=n, stratify=y, random_state=seed
                )
                candidates = [*estimators(seed), ("60 epochs", lstm(seed, epochs=60))]
                for name, estimator in candidates:
                    score = estimator.fit(train, y_train).score(test, y_test)
                    scores.setdefault(name, []).append(score)
            for name, values in scores.items():
                print(f"{n} images  {name:15} {np.round(values, 3)}", flush=True)
        return
    shuffled = StratifiedKFold(5, shuffle=True, random_state=0)
    for seed in range(arguments.seeds):
        for name, estimator in estimators(seed):
            for kind, folds in (("file order", 5), ("shuffled", shuffled)):
                scores = cross_val_score(estimator, X, y, cv=folds)
                print(
                    f"seed {seed}  {kind:10}  {name:15} {scores.mean():.4f} "
                    f"+- {scores.std():.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
