"""Intersection over union of `fov_mask` on drawn and real photographs.

    python benchmarks/fields.py [--data FOLDER]

Draws photographs whose field of view is known: circles and ellipses of many sizes at
many places, cut on one to four sides, with caption bars, on dark, bright or noisy
borders. If FOLDER holds drive.npz, the photographs of DRIVE are also squashed, cropped
and given bars, and compared with their given masks, which are changed in the same way.
Prints the lowest and the median overlap for each form. With DRIVE, it also prints the
time per photograph.
"""

import argparse
import os
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from sklstm.preprocessing import fov_mask


def drawn(
    shape=(400, 480),
    center=(0.5, 0.5),
    radius=0.45,
    aspect=1.0,
    cuts=(0.0, 0.0, 0.0, 0.0),
    border=2.0,
    border_noise=1.0,
    bars=(),
    quality=None,
    gray=False,
    seed=0,
):
    """Return a photograph of a retina, and the mask of its field of view.

    `center` is a fraction of the frame's width and height. `radius`, `cuts` and the
    thickness of a bar are fractions of the frame's shorter side. `cuts` are (top,
    bottom, left, right), measured from the edge of the field. `aspect` is the width of
    the field over its height. A bar is (side, thickness, level, text).
    """
    rng = np.random.default_rng(seed)
    height, width = shape
    unit = min(shape)
    x0, y0 = center[0] * width, center[1] * height
    rx, ry = radius * unit * aspect**0.5, radius * unit / aspect**0.5
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = (x - x0) / rx, (y - y0) / ry
    mask = u * u + v * v <= 1
    top, bottom, left, right = (cut * unit for cut in cuts)
    mask &= (y >= y0 - ry + top) & (y <= y0 + ry - bottom)
    mask &= (x >= x0 - rx + left) & (x <= x0 + rx - right)
    tilt = rng.uniform(-0.2, 0.2, 2)
    shade = 1 - 0.55 * (u * u + v * v) + tilt[0] * u + tilt[1] * v
    shade = np.clip(shade, 0.3, None)
    texture = cv2.GaussianBlur(
        rng.normal(0, 1, shape).astype(np.float32), (0, 0), max(2.0, 0.03 * unit)
    )
    shade += 0.04 * texture / texture.std()
    disc = np.exp(-(((u - 0.4) / 0.18) ** 2) - ((v - 0.05) / 0.2) ** 2)
    image = np.stack(
        [180 * shade + 60 * disc, 90 * shade + 110 * disc, 40 * shade + 60 * disc], -1
    )
    vessels = np.zeros(shape, np.float32)
    for _ in range(9):
        angle = rng.uniform(0, 2 * np.pi)
        t = np.linspace(0, 1.5, 40)
        bend = angle + rng.uniform(-0.8, 0.8) * t
        points = np.stack(
            [
                x0 + rx * (0.4 + t * np.cos(bend)),
                y0 + ry * (0.05 + t * np.sin(bend)),
            ],
            -1,
        )
        thick = max(1, round(unit * rng.uniform(0.004, 0.012)))
        cv2.polylines(vessels, [np.round(points).astype(np.int32)], False, 1.0, thick)
    vessels = cv2.GaussianBlur(vessels, (0, 0), max(0.6, 0.002 * unit))
    image *= 1 - vessels[..., None] * np.array([0.15, 0.35, 0.1])
    image[~mask] = border
    image = cv2.GaussianBlur(image, (0, 0), max(0.6, 0.0015 * unit))
    noise = rng.normal(0, 1, image.shape)
    image += noise * np.where(mask, 2.5, border_noise)[..., None]
    if gray:
        image = image[..., 1]
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
    for side, thickness, level, text in bars:
        image, mask = with_bar(image, mask, side, round(thickness * unit), level, text)
    if quality is not None:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return image, mask


def with_bar(image, mask, side, thickness, level, text):
    """Add a caption bar to one side of the photograph."""
    pads = [thickness if side == name else 0 for name in SIDES]
    kind = cv2.BORDER_CONSTANT
    image = cv2.copyMakeBorder(image, *pads, kind, value=(level,) * 3)
    mask = cv2.copyMakeBorder(mask.view(np.uint8), *pads, kind, value=0)
    if text and side in ("top", "bottom"):
        row = thickness if side == "top" else image.shape[0]
        color = (0, 0, 0) if level > 128 else (255, 255, 255)
        size = thickness / 40
        place = (5, row - round(0.3 * thickness))
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, "OD 12.03.2019 ID 4711", place, font, size, color, 1)
    return image, mask.view(bool)


SIDES = ("top", "bottom", "left", "right")


def forms(rng):
    """Yield the name of a form and the arguments of `drawn`."""
    for i in range(12):
        spread = rng.uniform(-0.05, 0.05, 2) + 0.5
        shape = [(400, 480), (512, 512), (300, 450), (700, 500)][i % 4]
        base = {"shape": shape, "center": tuple(spread), "seed": i}
        quality = [None, 90, 60][i % 3]
        base["quality"] = quality
        yield "circle", base | {"radius": rng.uniform(0.3, 0.44)}
        yield "circle, grey", base | {"radius": rng.uniform(0.3, 0.44), "gray": True}
        yield "small circle", base | {"radius": rng.uniform(0.13, 0.25)}
        far = {"center": tuple(rng.uniform(0.35, 0.65, 2))}
        yield "far off the middle", base | far | {"radius": rng.uniform(0.15, 0.33)}
        aspect = rng.choice([rng.uniform(0.55, 0.93), rng.uniform(1.08, 1.8)])
        yield "ellipse", base | {"aspect": aspect, "radius": 0.34}
        cut = rng.uniform(0.03, 0.14)
        for name, n in (
            ("one cut", 1),
            ("two cuts", 2),
            ("three cuts", 3),
            ("four cuts", 4),
        ):
            cuts = np.zeros(4)
            cuts[rng.permutation(4)[:n]] = cut * rng.uniform(0.6, 1, n)
            yield name, base | {"radius": 0.42, "cuts": tuple(cuts)}
        cuts = (cut, cut, 0, 0)
        yield (
            "ellipse, two cuts",
            base | {"aspect": aspect, "radius": 0.34, "cuts": cuts},
        )
        # The frame itself cuts the field, and only its corners are border.
        yield (
            "cut by the frame",
            base | {"shape": (shape[0],) * 2, "radius": rng.uniform(0.52, 0.64)},
        )
        side = rng.uniform(0.3, 0.7)
        yield (
            "half outside the frame",
            base | {"center": (rng.uniform(0.1, 0.25), side), "radius": 0.5},
        )
        side, thick = SIDES[i % 4], rng.uniform(0.06, 0.2)
        for name, level in (("white", 255), ("grey", 120), ("black", 0)):
            yield (
                f"{name} bar",
                base
                | {
                    "radius": rng.uniform(0.3, 0.5),
                    "bars": ((side, thick, level, i % 2),),
                },
            )
        two = ((side, thick, 230, 1), (SIDES[(i + 1) % 4], 0.08, 40, 1))
        yield "two bars", base | {"radius": rng.uniform(0.3, 0.48), "bars": two}
        yield (
            "bar, ellipse",
            base | {"aspect": aspect, "radius": 0.34, "bars": ((side, thick, 240, 1),)},
        )
        for name, level, noise in (
            ("bright border", 250, 1),
            ("grey border", 60, 2),
            ("dark noise", 10, 8),
        ):
            yield (
                name,
                base
                | {
                    "border": level,
                    "border_noise": noise,
                    "radius": rng.uniform(0.3, 0.44),
                },
            )
        yield (
            "large",
            base | {"shape": (1500, 1800), "radius": 0.47, "cuts": (cut, 0, 0, 0)},
        )


def changed(image, mask, rng):
    """Yield (name, photograph, mask) for each change of a photograph of DRIVE."""
    as_bytes = mask.view(np.uint8)

    def resized(size):
        kind = cv2.INTER_AREA
        return (
            cv2.resize(image, size, interpolation=kind),
            cv2.resize(as_bytes * 255, size, interpolation=kind) > 127,
        )

    yield "as it is", image, mask
    yield "to 512 x 512", *resized((512, 512))
    yield "to 4 : 3", *resized((640, 480))
    yield "to 3 : 2, upright", *resized((400, 600))
    yield "to 16 : 9", *resized((800, 450))
    top, left = rng.integers(20, 110, 2)
    yield "top and bottom cropped", image[top:-top], mask[top:-top]
    yield (
        "left, top, right cropped",
        image[top:, left:-left],
        mask[top:, left:-left],
    )
    yield (
        "four sides cropped",
        image[60:-60, 60:-60],
        mask[60:-60, 60:-60],
    )
    black = image.copy()
    inside = mask.copy()
    black[:top], black[-top:] = 0, 0
    inside[:top], inside[-top:] = False, False
    yield "black bars over it", black, inside
    size = (512, 512)
    yield (
        "bars over it, squashed",
        cv2.resize(black, size, interpolation=cv2.INTER_AREA),
        cv2.resize(inside.view(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        > 127,
    )
    for side in ("top", "left"):
        yield f"white bar, {side}", *with_bar(image, mask, side, 60, 255, True)
    wide = cv2.copyMakeBorder(image, 300, 300, 600, 600, cv2.BORDER_CONSTANT)
    yield (
        "in a wide black frame",
        wide,
        cv2.copyMakeBorder(as_bytes, 300, 300, 600, 600, cv2.BORDER_CONSTANT) > 0,
    )


def overlap(image, mask):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fov_mask(image)
    return (found & mask).sum() / (found | mask).sum()


def report(title, found):
    print(f"{title:26}{'least':>8}{'median':>8}")
    for name, values in found.items():
        print(f"{name:26}{min(values):8.3f}{np.median(values):8.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    found = {}
    for name, params in forms(rng):
        found.setdefault(name, []).append(overlap(*drawn(**params)))
    report("drawn", found)
    if args.data:
        with np.load(Path(args.data) / "drive.npz") as data:
            images, masks = data["images"], data["fov"]
        found = {}
        for image, mask in zip(images, masks, strict=True):
            for name, *pair in changed(image, mask, rng):
                found.setdefault(name, []).append(overlap(*pair))
        report("DRIVE", found)
        times = []
        for image in images:
            start = time.perf_counter()
            fov_mask(image)
            times.append(time.perf_counter() - start)
        print(f"{1000 * np.median(times):.1f} ms a photograph of 584 x 565")
    packages = ("numpy", "opencv-python-headless")
    print("seed 0, " + ", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
