"""Compare classifiers on a set of image files: ``python -m sklstm.compare SET``.

The set is a folder with a folder for each class, or a table with the paths and the
labels of the images.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sklstm.datasets import load_image_folder, load_image_table
from sklstm.estimators import LSTMImageClassifier
from sklstm.model_selection import check_leakage, compare
from sklstm.preprocessing import ImageReader, RowSequencer

# What `--estimators` may name, with the network and the scan of each.
_NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {"network": "lstm", "sequencer": RowSequencer()},
    "bilstm2d": {"network": "bilstm2d"},
    "cnn_lstm": {"network": "cnn_lstm"},
    "auto": {"network": "auto"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Arguments of the command line. If None, those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 if something cannot be used.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # One line for each problem of the files, without the line of code.
            warnings.showwarning = _show
            _run(given)
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _show(message: Any, *rest: Any, **more: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sklstm.compare",
        description="Compares classifiers on a set of image files: LSTMs, a CNN that "
        "is trained alike, an SVC, a logistic regression and the commonest class.",
    )
    parser.add_argument(
        "set",
        help="folder with a folder of images for each class, or a table (CSV)",
    )
    table = parser.add_argument_group("a table")
    table.add_argument("--path-column", default="path", help="column of the paths")
    table.add_argument("--label-column", default="label", help="column of the classes")
    table.add_argument("--group-column", help="column of the groups, such as patients")
    images = parser.add_argument_group("images")
    images.add_argument(
        "--size", type=int, default=32, help="height and width in pixels [32]"
    )
    images.add_argument("--color", choices=("gray", "rgb"), default="gray")
    images.add_argument(
        "--group-pattern",
        help="regular expression that finds the group in the name of a file",
    )
    images.add_argument(
        "--groups-by-similarity",
        action="store_true",
        help="keep near duplicates on one side of a split",
    )
    what = parser.add_argument_group("classifiers")
    what.add_argument(
        "--estimators",
        default="lstm,cnn_lstm",
        help=f"some of {', '.join(_NETWORKS)} [lstm,cnn_lstm]",
    )
    what.add_argument(
        "--augmentation",
        help="how images are changed in training, such as light, photo or surface",
    )
    what.add_argument("--epochs", type=int, help="epochs of the networks")
    how = parser.add_argument_group("comparison")
    how.add_argument("--folds", type=int, default=5)
    how.add_argument("--repeats", type=int, default=2)
    how.add_argument(
        "--train-sizes",
        help="numbers of training images, or parts of them, such as 50,200 or 0.1,1.0",
    )
    how.add_argument("--scoring", default="accuracy", help="score of scikit-learn")
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--jobs", type=int, help="processes")
    out = parser.add_argument_group("results")
    out.add_argument("--store", help="file of scores, with which a run goes on")
    out.add_argument(
        "--output",
        help="folder for comparison.csv, comparison.html and, with matplotlib, "
        "comparison.png; without it, nothing is written",
    )
    return parser


def _run(given: argparse.Namespace) -> None:
    estimators = _estimators(given)
    sizes = _sizes(given.train_sizes)
    if given.output is not None and not Path(given.output).parent.is_dir():
        raise ValueError(
            f"--output {given.output!r} is in a folder that does not exist."
        )
    found = _load(given)
    X = ImageReader(size=given.size, color=given.color).fit_transform(found.paths)
    y = np.asarray(found.labels)
    labels, counts = np.unique(y, return_counts=True)
    classes = ", ".join(f"{n} {k}" for k, n in zip(labels, counts, strict=True))
    print(f"{len(y)} images of {given.size} x {given.size} pixels: {classes}")
    groups = found.groups
    leakage = check_leakage(X, groups, y=y)
    if len(leakage.pairs):
        print(leakage)
        if given.groups_by_similarity:
            groups = leakage.groups_
            print(f"Near duplicates stay together: {len(np.unique(groups))} groups.")
        else:
            print("To keep them on one side of a split, add --groups-by-similarity.")
    comparison = compare(
        estimators,
        X,
        y,
        groups=groups,
        train_sizes=sizes,
        cv=given.folds,
        n_repeats=given.repeats,
        scoring=given.scoring,
        n_jobs=given.jobs,
        random_state=given.seed,
        store=given.store,
    )
    print(f"\n{comparison}")
    if given.output is not None:
        _write(comparison, Path(given.output))


def _estimators(given: argparse.Namespace) -> dict[str, Any]:
    shared: dict[str, Any] = {}
    if given.augmentation is not None:
        shared["augmentation"] = given.augmentation
    if given.epochs is not None:
        shared["epochs"] = given.epochs
    named = {}
    for name in filter(None, given.estimators.split(",")):
        if name not in _NETWORKS:
            raise ValueError(
                f"--estimators has {name!r}: it knows {', '.join(_NETWORKS)}."
            )
        named[name] = LSTMImageClassifier(**_NETWORKS[name], **shared)
    if not named:
        raise ValueError(f"--estimators is empty: name some of {', '.join(_NETWORKS)}.")
    return named


def _sizes(text: str | None) -> list[int | float] | None:
    if text is None:
        return None
    try:
        return [float(n) if "." in n else int(n) for n in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--train-sizes {text!r} must be numbers, such as 50,200 or 0.1,1.0."
        ) from None


def _load(given: argparse.Namespace) -> Any:
    path = Path(given.set)
    if path.is_dir():
        return load_image_folder(path, group_pattern=given.group_pattern)
    if not path.exists():
        raise FileNotFoundError(f"{given.set!r} does not exist.")
    return load_image_table(
        path,
        given.path_column,
        given.label_column,
        given.group_column,
        group_pattern=given.group_pattern,
    )


def _write(comparison: Any, folder: Path) -> None:
    """Write the table, the page and the picture, and name them."""
    folder.mkdir(exist_ok=True)
    rows = comparison.table()
    if not isinstance(rows, list):
        rows = rows.to_dict("records")
    with open(folder / "comparison.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    page = comparison._repr_html_()
    text = f'<!DOCTYPE html><meta charset="utf-8"><title>Comparison</title>{page}'
    (folder / "comparison.html").write_text(text, encoding="utf-8")
    written = ["comparison.csv", "comparison.html"]
    try:
        # matplotlib is optional.
        from matplotlib.figure import Figure
    except ImportError:
        pass
    else:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        comparison.plot(ax=figure.subplots())
        figure.savefig(folder / "comparison.png", dpi=120)
        written.append("comparison.png")
    print(f"written: {', '.join(str(folder / name) for name in written)}")


if __name__ == "__main__":
    sys.exit(main())
