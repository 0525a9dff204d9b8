"""
Diagnosis: what is wrong with a network, and what to change
===========================================================

``diagnose`` checks a network before you trust it. Does it beat the majority class and
shuffled labels? Does the order of the steps matter? How does it train? Each check has
a verdict and a sentence of advice. Here the learning rate is far too high, on purpose.

The script takes less than a minute.
"""

# sphinx_gallery_thumbnail_path = 'images/diagnosis.png'

import argparse

from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.model_selection import diagnose

parser = argparse.ArgumentParser(description="Diagnoses a classifier of digits.")
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--permutations", type=int, default=3)
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Make a Pipeline that trains badly.

digits = load_digits()
X, y = digits.images[:300], digits.target[:300]
network = LSTMImageClassifier(
    units=16, epochs=arguments.epochs, learning_rate=0.3, lr_schedule="constant"
)
model = make_pipeline(RowSequencer(), network)

# %%
# Hold out a third of the samples once. With ``cv=5``, which is the default, all
# checks use five folds, and take five times as long.

how = {"cv": 1 / 3, "n_permutations": arguments.permutations, "random_state": 0}
found = diagnose(model, X, y, **how)
print(found)

# %%
# Follow the advice of one check, and diagnose again.

model.set_params(**found["loss oscillates"].params)
print("\nwith the advice on the loss:", found["loss oscillates"].params)
again = diagnose(model, X, y, **how)
print(again)

# %%
# Plot the training of the first network. The titles have the verdicts.

display = found.plot()
if arguments.out is not None:
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/diagnosis.py --out diagnosis.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/diagnosis.txt
#    :language: none
#
# .. image:: /images/diagnosis.png
#    :alt: Loss, accuracy, gradient norm and learning rate over 40 epochs, with
#          verdicts.
