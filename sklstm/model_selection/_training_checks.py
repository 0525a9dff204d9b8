"""What the values per epoch tell of a training, and which parameter to change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklstm.model_selection._findings import Finding

# Fewer epochs have no shape that could be judged.
_FEWEST_EPOCHS = 8
# Standard deviation of the loss from epoch to epoch, as a part of its range. Training
# of digits at the default rate has .01 to .02, and at 30 times the rate .04.
_OSCILLATES = (0.025, 0.06)
# Rise of the validation loss after its best epoch, as a part of its fall before.
_STALLS = (0.05, 0.25)
_EXPLODED = (30.0, 1e3)
_VANISHED = (1e-4, 1e-6)


def roughness(losses: np.ndarray) -> float:
    """Return the standard deviation from epoch to epoch as a part of the range.

    Parameters
    ----------
    losses : ndarray of shape (n_epochs,)
        Loss of each epoch.
    """
    losses = np.asarray(losses, float)
    # The distance from the mean of both neighbours has 1.5 times the variance.
    jumps = losses[1:-1] - (losses[:-2] + losses[2:]) / 2
    extent = np.ptp(losses)
    return float(math.sqrt((jumps**2).mean() / 1.5) / extent) if extent > 0 else 0.0


def check_loss(history: dict[str, list[float]], params: dict[str, Any]) -> Finding:
    """Return whether the loss of training oscillates.

    Parameters
    ----------
    history : dict of lists
        `history_` of a fit.
    params : dict
        Parameters of the network.
    """
    name = "loss oscillates"
    losses = np.asarray(history["loss"], float)
    if len(losses) < _FEWEST_EPOCHS:
        return Finding(
            name,
            "not checked",
            f"{len(losses)} epochs are too few: train for {_FEWEST_EPOCHS} or more, "
            f"epochs={_FEWEST_EPOCHS}.",
        )
    rough = roughness(losses)
    figures = {"roughness": rough, "first_loss": losses[0], "last_loss": losses[-1]}
    verdict = _verdict(rough, _OSCILLATES)
    if verdict == "good":
        advice = f"The loss varies by {rough:.1%} of its range from epoch to epoch."
        return Finding(name, verdict, advice, figures)
    rate = params["learning_rate"] / (10 if verdict == "problem" else 3)
    new: dict[str, Any] = {"learning_rate": float(f"{rate:.2g}")}
    advice = (
        f"The loss varies by {rough:.1%} of its range from epoch to epoch: set "
        f"learning_rate={rate:.2g}"
    )
    if params["lr_schedule"] == "constant":
        new["lr_schedule"] = "cosine"
        advice += " and lr_schedule='cosine'"
    return Finding(name, verdict, f"{advice}.", figures, new)


def check_validation(
    history: dict[str, list[float]], params: dict[str, Any], best_epoch: int
) -> Finding:
    """Return whether the validation loss stops falling and rises again.

    Parameters
    ----------
    history : dict of lists
        `history_` of a fit with validation.
    params : dict
        Parameters of the network.
    best_epoch : int
        Number of epochs after which the kept weights were reached.
    """
    name = "validation stalls"
    losses = np.asarray(history.get("val_loss", []), float)
    if len(losses) < _FEWEST_EPOCHS:
        why = f"{len(losses)} epochs with validation are too few"
        return Finding(name, "not checked", f"{why}: raise epochs.")
    best = int(losses.argmin())
    fall = losses[: best + 1].max() - losses[best]
    kept = losses[best_epoch - 1] if params["early_stopping"] else losses[-3:].mean()
    rise = max(0.0, float(kept - losses[best]))
    part = rise / fall if fall > 0 else math.inf
    figures = {
        "best_epoch": best + 1,
        "n_epochs": len(losses),
        "best_val_loss": float(losses[best]),
        "kept_val_loss": float(kept),
        "rise": part,
    }
    if best == 0:
        advice = "The validation loss never falls"
        verdict = "problem"
    else:
        verdict = _verdict(part, _STALLS)
        advice = f"The validation loss is lowest in epoch {best + 1} of {len(losses)}"
        if verdict == "good":
            kept_too = ", whose weights are kept" if params["early_stopping"] else ""
            return Finding(name, verdict, f"{advice}{kept_too}.", figures)
        advice += f" and rises by {part:.0%} of its fall"
    if not params["early_stopping"]:
        new: dict[str, Any] = {"early_stopping": True}
        if best == 0:
            new = _less_fitting(params)
    else:
        new = _less_fitting(params)
    return Finding(name, verdict, f"{advice}: set {_named(new)}.", figures, new)


def check_gradients(history: dict[str, list[float]], params: dict[str, Any]) -> Finding:
    """Return whether the gradient vanishes or explodes.

    Parameters
    ----------
    history : dict of lists
        `history_` of a fit.
    params : dict
        Parameters of the network.
    """
    name = "gradients"
    norms = np.asarray(history.get("gradient_norm", []), float)
    norms = norms[np.isfinite(norms)]
    if len(norms) == 0:
        return Finding(name, "not checked", "No epoch has a norm of the gradient.")
    most, first = float(norms.max()), float(norms[0])
    figures = {"largest_norm": most, "first_norm": first}
    if most > _EXPLODED[0]:
        clips = params["clipvalue"] is not None
        rate = float(f"{params['learning_rate'] / 10:.2g}")
        new: dict[str, Any] = {"learning_rate": rate} if clips else {"clipvalue": 1.0}
        advice = f"The gradient reaches a norm of {most:.2g}: set {_named(new)}."
        return Finding(name, _verdict(most, _EXPLODED), advice, figures, new)
    if first < _VANISHED[0]:
        can = params.get("pooling") is None and params.get("attention") is None
        new = {"pooling": "mean"} if can else {"batch_norm": True}
        verdict = "problem" if first < _VANISHED[1] else "warning"
        advice = f"The gradient begins with a norm of {first:.2g}: set {_named(new)}."
        return Finding(name, verdict, advice, figures, new)
    low = float(norms.min())
    advice = f"The norm of the gradient is between {low:.2g} and {most:.2g}."
    return Finding(name, "good", advice, figures)


def check_fit(
    train: float, test: float, base: float, best: float, certain: bool, params: dict
) -> Finding:
    """Return whether a network under- or overfits.

    Parameters
    ----------
    train, test, base : float
        Mean scores on training samples, on others, and of the majority class.
    best : float
        Highest score that is possible.
    certain : bool
        Whether the interval of ``train - test`` is above zero.
    params : dict
        Parameters of the network. Empty for other estimators.
    """
    name = "under- or overfitting"
    extent = best - base
    figures = {"train_score": train, "test_score": test}
    if not extent > 0:
        why = "the majority class has the best score already: set scoring="
        return Finding(name, "not checked", f"{why}'balanced_accuracy'.", figures)
    learned, gap = (train - base) / extent, (train - test) / extent
    figures |= {"learned": learned, "gap": gap}
    seen = f"It scores {train:.3f} on its training samples and {test:.3f} on others"
    if learned < 0.7:
        new = _more_fitting(params)
        advice = f"{seen}, so it underfits: {_set_or(new, 'fit a larger model')}."
        verdict = "problem" if learned < 0.4 else "warning"
        return Finding(name, verdict, advice, figures, new)
    if gap > 0.1 and certain:
        new = _less_fitting(params)
        advice = f"{seen}, so it overfits: {_set_or(new, 'regularize it more')}."
        verdict = "problem" if gap > 0.4 else "warning"
        return Finding(name, verdict, advice, figures, new)
    return Finding(name, "good", f"{seen}.", figures)


def _more_fitting(params: dict[str, Any]) -> dict[str, Any]:
    """Return a change that lets a network learn its training samples."""
    if not params:
        return {}
    if params["learning_rate"] < 1e-3:
        return {"learning_rate": 3e-3}
    if params["epochs"] != "auto":
        return {"epochs": 2 * params["epochs"]}
    noisy = params["backbone"] is None and params["input_noise"] != 0
    if params["dropout"] > 0 and noisy:
        return {"dropout": 0.0, "input_noise": 0.0}
    return {"units": 2 * params["units"]}


def _less_fitting(params: dict[str, Any]) -> dict[str, Any]:
    """Return a change that regularizes a network more."""
    if not params:
        return {}
    if params["backbone"] is None and (
        params["input_noise"] == 0 or params["dropout"] < 0.2
    ):
        return {"input_noise": None, "dropout": 0.3}
    images = params["sequencer"] is not None or params.get("takes") == "images"
    if images and params["augmentation"] is None:
        return {"augmentation": "light"}
    if params["dropout"] < 0.5:
        return {"dropout": 0.5}
    return {"units": max(1, params["units"] // 2)}


def _named(new: dict[str, Any]) -> str:
    return " and ".join(f"{name}={value!r}" for name, value in new.items())


def _set_or(new: dict[str, Any], otherwise: str) -> str:
    return f"set {_named(new)}" if new else otherwise


def _verdict(value: float, bounds: tuple[float, float]) -> str:
    if value < bounds[0]:
        return "good"
    return "warning" if value < bounds[1] else "problem"
