"""The order of the examples in the gallery, and a command that stores their output.

The build of the documentation runs the quick examples only. For the others it shows
stored output::

    python docs/gallery.py NAME [ARGUMENT ...]

runs ``examples/NAME.py`` with the arguments, and writes what it prints to
``docs/outputs/NAME.txt`` and its picture to ``docs/images/``.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent

ORDER = [
    "quickstart",
    "mnist",
    "moving_digits",
    "ensembles",
    "prediction_sets",
    "inside_the_network",
    "attribution",
    "recipe",
    "features",
    "comparison",
    "diagnosis",
    "robustness",
    "optuna_search",
    "optuna_dask",
    "fundus",
    "defects",
]


class Order:
    """Sort key for sphinx-gallery: `ORDER` first, then any other by name.

    Parameters
    ----------
    folder : path
        Folder of the examples.
    """

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        # Sphinx builds all pages anew when this changes.
        return f"<Order {ORDER}>"

    def __call__(self, filename):
        """Return the place of an example in the gallery."""
        name = Path(filename).stem
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def store(name, arguments):
    """Run an example, and store its text and its picture."""
    from PIL import Image

    script = DOCS.parent / "examples" / f"{name}.py"
    picture = DOCS / re.search(
        r"sphinx_gallery_thumbnail_path = '(.+)'", script.read_text(encoding="utf-8")
    ).group(1)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, script, *arguments, "--out", f"{name}.png"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        image = Image.open(Path(folder) / f"{name}.png").convert("RGB")
    # With a palette the file is a third as large, and looks the same.
    image.quantize(256, kmeans=3).save(picture, optimize=True)
    text = DOCS / "outputs" / f"{name}.txt"
    text.parent.mkdir(exist_ok=True)
    text.write_text(done.stdout, encoding="utf-8")


if __name__ == "__main__":
    # The example runs in another folder, so relative paths would not be found.
    absolute = [str(Path(a).resolve()) if "/" in a else a for a in sys.argv[2:]]
    store(sys.argv[1], absolute)
