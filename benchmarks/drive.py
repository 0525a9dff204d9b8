"""AUC, F1, sensitivity and time of vessel maps on the photographs of DRIVE.

    python benchmarks/drive.py --data FOLDER [--out FIGURE.png]
    python benchmarks/drive.py --data FOLDER --tune

FOLDER holds drive.npz. The scores count the pixels inside the field of view of the test
half. Thresholds are chosen on the training half. The peers are CLAHE on the green
channel, with a threshold chosen in this way and with Otsu's, and the Frangi filter of
scikit-image, if it is installed, with widths chosen on the training half. ``--tune``
fits the weights of the vessel map on the training half and prints them as a module.
"""

import argparse
import os
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from sklstm import FundusPreprocessor
from sklstm.preprocessing.fundus import _vessels
from sklstm.preprocessing.fundus._field_of_view import find_field


def read(folder):
    with np.load(Path(folder) / "drive.npz") as data:
        return [data[name] for name in ("images", "vessels", "fov", "split")]


def own_mask(image):
    return find_field(image).mask(image.shape[:2])


def tune(images, vessels):
    """Fit the weights of both steps on the training photographs."""
    rng = np.random.default_rng(0)
    masks = [own_mask(image) for image in images]
    bars = [
        _vessels.first_maps(i[..., 1], m) for i, m in zip(images, masks, strict=True)
    ]
    y = np.concatenate([v[m] for v, m in zip(vessels, masks, strict=True)])
    rows = rng.choice(len(y), 400_000, replace=False)

    def fit(maps, products=False):
        X = np.concatenate([a[:, m].T for a, m in zip(maps, masks, strict=True)])[rows]
        if products:
            i, j = np.triu_indices(X.shape[1])
            X = np.concatenate([X, X[:, i] * X[:, j]], axis=1)
        mean, scale = X.mean(axis=0), X.std(axis=0)
        model = LogisticRegression(max_iter=2000).fit((X - mean) / scale, y[rows])
        weights = model.coef_[0] / scale
        constant = model.intercept_[0] - weights @ mean
        return np.append(weights, constant).astype(np.float32)

    first = fit(bars)
    seconds = [
        _vessels.second_maps(_vessels.weigh(a, first), m, a)
        for a, m in zip(bars, masks, strict=True)
    ]
    n = len(seconds[0])
    weights = fit(seconds, products=True)
    return {
        "FIRST": first,
        "SECOND": np.append(weights[:n], weights[-1]),
        "PRODUCTS": weights[n:-1],
    }


def print_module(found):
    print('"""Weights of `vesselness`, by ``python benchmarks/drive.py --tune``."""')
    print("\nimport numpy as np\n")
    for name, weights in found.items():
        numbers = ", ".join(f"{w:.5g}" for w in weights)
        print(f"{name} = np.array([{numbers}], np.float32)")


def clahe(image):
    return 255 - cv2.createCLAHE(2.0, (8, 8)).apply(image[..., 1])


def clahe_and_otsu(image):
    return cv2.threshold(clahe(image), 0, 1, cv2.THRESH_OTSU)[1].astype(bool)


def frangi(image):
    from skimage.filters import frangi

    # The filter would respond more to the edge of the field of view than to vessels.
    green = _vessels._continued(image[..., 1].astype(np.float32), own_mask(image))
    return frangi(green, sigmas=(2, 3, 4), black_ridges=True)


def ours(image):
    return _vessels.vesselness(image[..., 1], own_mask(image))


def inside(maps, masks):
    return np.concatenate([a[m] for a, m in zip(maps, masks, strict=True)])


def report(name, maps, seconds, train, vessels, masks):
    truth, scores = inside(vessels, masks), inside(maps, masks)
    fpr, tpr, _ = roc_curve(truth, scores)
    precision, recall, thresholds = precision_recall_curve(*train)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    chosen = scores >= thresholds[min(f1.argmax(), len(thresholds) - 1)]
    hits = (chosen & truth).sum()
    print(
        f"{name:16}{roc_auc_score(truth, scores):8.4f}"
        f"{2 * hits / (chosen.sum() + truth.sum()):8.3f}"
        f"{np.interp(0.03, fpr, tpr):12.3f}{hits / truth.sum():12.3f}"
        f"{(~chosen & ~truth).sum() / (~truth).sum():12.3f}{seconds:10.2f}"
    )


def draw(images, vessels, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = {
        "photograph": list(images),
        "enhanced": FundusPreprocessor(crop=False).transform(images),
        "graham": FundusPreprocessor("graham", crop=False, color="rgb").transform(
            images
        ),
        "vesselness": FundusPreprocessor("vesselness", crop=False).transform(images),
        "vessels": FundusPreprocessor("vessels", crop=False).transform(images),
        "marked by a person": list(vessels),
    }
    figure, axes = plt.subplots(len(images), len(kinds), figsize=(12, 4.4))
    for column, (name, shown) in zip(axes.T, kinds.items(), strict=True):
        column[0].set_title(name, fontsize=9)
        for axis, one in zip(column, shown, strict=True):
            axis.imshow(one, cmap="gray")
            axis.axis("off")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--out", help="file for a figure of two test photographs")
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds drive.npz")
    images, vessels, masks, split = read(args.data)
    training, test = split == "training", split == "test"
    if args.tune:
        print_module(tune(images[training], vessels[training]))
        return
    cv2.setNumThreads(1)
    print(
        f"{'':16}{'AUC':>8}{'F1':>8}{'sens. at .97':>13}{'sens.':>11}"
        f"{'spec.':>12}{'s':>10}"
    )
    peers = {"CLAHE": clahe, "Frangi": frangi, "sklstm": ours}
    try:
        import skimage  # noqa: F401
    except ImportError:
        del peers["Frangi"]
    for name, peer in peers.items():
        on_train = [peer(image) for image in images[training]]
        times, maps = [], []
        for image in images[test]:
            start = time.perf_counter()
            maps.append(peer(image))
            times.append(time.perf_counter() - start)
        train = (
            inside(vessels[training], masks[training]),
            inside(on_train, masks[training]),
        )
        report(name, maps, np.median(times), train, vessels[test], masks[test])
    truth = inside(vessels[test], masks[test])
    for name, decided in (
        ("CLAHE and Otsu", [clahe_and_otsu(image) for image in images[test]]),
        (
            "output='vessels'",
            FundusPreprocessor("vessels", crop=False).transform(images[test]),
        ),
    ):
        chosen = inside(decided, masks[test])
        hits = (chosen & truth).sum()
        f1 = 2 * hits / (chosen.sum() + truth.sum())
        print(f"{name:18} F1 {f1:.3f}, sensitivity {hits / truth.sum():.3f}")
    if args.out:
        draw(images[test][[0, 3]], vessels[test][[0, 3]], args.out)
    packages = ("numpy", "scipy", "opencv-python-headless")
    print(", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
