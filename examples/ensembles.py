"""
Five networks say which digits are uncertain
============================================

An ensemble averages the probabilities of five networks that differ in their seeds. It
is right more often than one of them, and where they disagree, it is uncertain. The
script leaves the most uncertain tenth of the digits to a person, and calibrates the
probabilities of the others. It takes about half a minute on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/uncertain_digits.png'

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier
from sklstm.metrics import expected_calibration_error

parser = argparse.ArgumentParser(description="An ensemble on digits.")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Train on 300 digits, and keep 1,497 for the test.

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, train_size=300, stratify=digits.target, random_state=0
)
ensemble = LSTMImageClassifier(n_estimators=5, epochs=30, random_state=0)
ensemble.fit(X_train, y_train)
alone = [member.score(X_test, y_test) for member in ensemble.estimators_]
right = ensemble.predict(X_test) == y_test
print(f"one network   accuracy {min(alone):.3f} to {max(alone):.3f}")
print(f"five networks accuracy {right.mean():.3f}")

# %%
# Sort the digits by the total uncertainty. Without the most uncertain tenth, the
# accuracy on the rest is higher.

total, data, model = ensemble.predict_uncertainty(X_test)
order = np.argsort(total)
kept, rejected = np.split(order, [int(0.9 * len(order))])
print(f"certain 90 %   accuracy {right[kept].mean():.3f}")
print(f"uncertain 10 % accuracy {right[rejected].mean():.3f}")

# %%
# A temperature brings the probabilities closer to the accuracies. It is fitted on a
# fifth of the training digits, which the networks are then not trained on.

calibrated = LSTMImageClassifier(
    n_estimators=5,
    epochs=30,
    calibration="temperature",
    validation_fraction=0.2,
    random_state=0,
).fit(X_train, y_train)
before = np.mean([m.predict_proba(X_test) for m in calibrated.estimators_], axis=0)
after = calibrated.predict_proba(X_test)
print(f"temperature {calibrated.temperature_:.2f}")
for name, probabilities in (("without", before), ("with", after)):
    error = expected_calibration_error(y_test, probabilities)
    print(f"{name:8} expected calibration error {error:.3f}")

# %%
# Draw the digits about which the networks disagree most. The titles are the answers of
# the five networks.

worst = np.argsort(model)[::-1][:10]
answers = np.array([member.predict(X_test[worst]) for member in ensemble.estimators_])
figure, axes = plt.subplots(2, 5, figsize=(8, 4.2), layout="constrained")
for ax, image, label, given in zip(
    axes.flat, X_test[worst], y_test[worst], answers.T, strict=True
):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(" ".join(map(str, given)))
    ax.set(xlabel=f"true: {label}", xticks=[], yticks=[])

if arguments.out:
    figure.savefig(arguments.out, dpi=100)
