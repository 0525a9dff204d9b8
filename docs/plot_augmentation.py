"""Draw docs/images/augmentation_kinds.png: what each name of `augmentation` does.

Run ``python docs/plot_augmentation.py``. Each strip shows an image and then eight
random changes of it. The digit and the flower come with scikit-learn. The script draws
the surface and the retina.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_sample_image

from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import make_augmentation

OUTPUT = Path(__file__).parent / "images" / "augmentation_kinds.png"
SIDE = 80
N_CHANGES = 8


def digit():
    """Return a digit, white on black."""
    image = np.pad(load_digits().images[4], 2).astype("float32") * 255 / 16
    image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(image, 0, 255)[..., None], 3, axis=-1)


def flower():
    """Return a square piece of a photograph."""
    piece = load_sample_image("flower.jpg")[40:400, 130:490]
    return cv2.resize(piece, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def casting():
    """Return a grainy surface with a scratch and a spot."""
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 1.2)
    image = 150 + 12 * grain / grain.std()
    scratch = np.array([[14, 20], [30, 27], [48, 38], [60, 54]], np.int32)
    cv2.polylines(image, [scratch], False, 60, 2, cv2.LINE_AA)
    cv2.circle(image, (58, 22), 4, 90, -1, cv2.LINE_AA)
    return np.repeat(image[..., None], 3, axis=-1)


def retina():
    """Return a retina in a round field of view, with the optic disc on the right."""
    large = 4 * SIDE
    center = large // 2
    image = np.zeros((large, large, 3), np.uint8)
    cv2.circle(image, (center, center), int(0.46 * large), (196, 92, 48), -1)
    disc = (int(0.74 * large), center)
    for side in (-1, 1):
        # Vessels leave the disc up and down, and bend around the macula.
        for reach, bend in ((0.42, 0.34), (0.30, 0.2), (-0.16, 0.34)):
            along = np.linspace(0, 1, 60)
            x = disc[0] - reach * large * along * 1.4
            y = disc[1] + side * bend * large * np.sqrt(along)
            line = np.column_stack([x, y]).astype(np.int32)
            cv2.polylines(image, [line], False, (128, 36, 24), 7, cv2.LINE_AA)
    cv2.circle(image, (int(0.4 * large), center), 22, (140, 56, 32), -1, cv2.LINE_AA)
    cv2.circle(image, disc, 34, (250, 214, 140), -1, cv2.LINE_AA)
    # A lesion above the macula shows what is up and what is down.
    cv2.circle(image, (int(0.3 * large), int(0.3 * large)), 12, (250, 240, 120), -1)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    y, x = np.indices((large, large)) - (large - 1) / 2
    image[np.hypot(x, y) > 0.46 * large] = 0
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


STRIPS = {
    "light": digit,
    "medium": digit,
    "characters": digit,
    "photo": flower,
    "surface": casting,
    "fundus": retina,
    "fundus_sided": retina,
}


def changes_of(name, image):
    """Return random changes of an image, as training makes them."""
    images = np.repeat(image[None].astype("float32"), N_CHANGES, axis=0)
    layer = make_augmentation(name)
    layer.build(images.shape)
    reseed(layer, np.random.default_rng(0))
    return keras.ops.convert_to_numpy(layer(images, training=True))


def main():
    """Draw all strips and save the figure."""
    figure, axes = plt.subplots(
        len(STRIPS),
        N_CHANGES + 2,
        figsize=(10.5, 7.6),
        layout="constrained",
        # A gap between the image and its changes.
        width_ratios=[1, 0.15] + N_CHANGES * [1],
    )
    for row, (name, draw) in zip(axes, STRIPS.items(), strict=True):
        image = draw()
        shown = [image, None, *changes_of(name, image)]
        for ax, one in zip(row, shown, strict=True):
            ax.axis("off")
            if one is not None:
                ax.imshow(np.clip(one, 0, 255).astype(np.uint8))
        row[0].text(
            -0.08,
            0.5,
            f'"{name}"',
            transform=row[0].transAxes,
            ha="right",
            va="center",
            fontsize=12,
        )
    axes[0, 0].set_title("image", fontsize=11)
    axes[0, 1 + N_CHANGES // 2].set_title("as training sees it", fontsize=11)
    figure.savefig(OUTPUT, dpi=90)


if __name__ == "__main__":
    main()
