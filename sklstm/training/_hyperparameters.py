"""The table of hyperparameters: values, effect on the graph, and search range.

Declare a new hyperparameter in `TABLE`. Then add it to the signature and the docstring
of the estimators that have it. If the network is given it, also add it to the network
functions that take it. The rest follows from the table: the estimators' parameter
constraints, the pool's key, the variables that `CompiledNetwork.configure` sets, and
what `suggest_space` suggests. tests/training/test_hyperparameters.py compares the table
with all signatures and docstrings.

This module loads neither Keras nor scikit-learn.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

# How a hyperparameter acts.
GRAPH = "graph"  # The network function is given it, and another value is another graph.
VARIABLE = "variable"  # A variable of the graph holds it. Only zero is another graph.
READING = "reading"  # The network is given what the estimator computes from it.
TRAINING = "training"  # Optimizer, loss and loop use it; the network is not given it.

# The network functions are given these as well; they follow from the data.
FROM_DATA = ("input_shape", "n_classes", "grid")

_SEQUENCES = ("lstm", "lstm_transformer")
_LSTMS_2D = ("bilstm2d", "renet")
_IMAGES = ("cnn_lstm", "cnn")
_BLOCKS_2D = ("sequencer", "vil")
_SCANS_2D = (*_LSTMS_2D, *_BLOCKS_2D)
_SCANS_3D = ("bilstm3d", "cnn3d")
_VOLUMES = ("conv_lstm", *_SCANS_3D)
_CLASSES = (*_SEQUENCES, *_IMAGES, *_SCANS_2D, *_VOLUMES)
_ALL = (*_CLASSES, "window_lstm")


@dataclass(frozen=True)
class Number:
    """An interval of numbers, as scikit-learn's `Interval` has it.

    Parameters
    ----------
    kind : type
        `numbers.Integral` or `numbers.Real`.
    low, high : float or None
        Ends of the interval. None for no bound.
    closed : {"left", "right", "both", "neither"}
        Ends that belong to the interval.
    """

    kind: type
    low: float | None = None
    high: float | None = None
    closed: str = "left"


@dataclass(frozen=True)
class Choice:
    """Strings to choose from.

    Parameters
    ----------
    values : tuple of str
        All of them.
    """

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """Numbers to search over.

    Parameters
    ----------
    low, high : int or float
        Both ends are included. Two integers are a range of integers.
    log : bool
        If True, search on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class PatchSizes:
    """Multiples of the patch size that networks choose for the images.

    Parameters
    ----------
    factors : tuple of int
        A factor is left out if its patches would be larger than the images.
    """

    factors: tuple[int, ...]


@dataclass(frozen=True)
class SearchRange:
    """What `suggest_space` suggests for a hyperparameter.

    Parameters
    ----------
    level : {"basic", "recipe", "architecture"}
        Level of `suggest_space` that suggests it. Each level suggests what is "basic".
    over : Range, tuple or PatchSizes
        Numbers, values or patch sizes to search over.
    networks : tuple of str or None
        Networks for which this is suggested. If None, it is suggested for a user's own
        network and for all networks that take the hyperparameter.
    """

    level: str
    over: Range | tuple | PatchSizes
    networks: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the table.

    Parameters
    ----------
    name : str
        Name of the parameter of the estimators and of the network functions.
    values : tuple
        What it may be: `Number`, `Choice`, a type, `callable`, "boolean", None. Empty
        if the estimators check it themselves.
    role : str
        `GRAPH`, `VARIABLE`, `READING` or `TRAINING`.
    networks : tuple of str
        Networks whose function takes it.
    held_by : tuple of str or None
        Layer of `sklstm.networks` and its variable that hold a `VARIABLE`.
    given_as : str or None
        Parameter of the network functions that carries a `READING`.
    values_in : dict of str to tuple
        Other `values` in the estimator of that name and its subclasses.
    search : tuple of SearchRange
        What `suggest_space` suggests. The first that suits the network counts.
    """

    name: str
    values: tuple
    role: str
    networks: tuple[str, ...] = ()
    held_by: tuple[str, str] | None = None
    given_as: str | None = None
    values_in: dict[str, tuple] = field(default_factory=dict)
    search: tuple[SearchRange, ...] = ()


_COUNT = (Number(Integral, 1),)
_NOT_NEGATIVE = (Number(Real, 0),)
_FLAG = ("boolean",)

# The order is that of a suggested search space within each of its levels.
TABLE = (
    Hyperparameter(
        "dropout",
        (Number(Real, 0, 1),),
        VARIABLE,
        networks=_ALL,
        held_by=("HyperDropout", "rate"),
        search=(SearchRange("basic", Range(0.0, 0.6)),),
    ),
    Hyperparameter(
        "learning_rate",
        (Number(Real, 0, closed="neither"),),
        TRAINING,
        search=(SearchRange("basic", Range(5e-4, 2e-2, log=True)),),
    ),
    Hyperparameter(
        "n_layers",
        _COUNT,
        GRAPH,
        networks=(*_SEQUENCES, *_IMAGES, *_LSTMS_2D, *_VOLUMES, "window_lstm"),
        search=(SearchRange("architecture", Range(1, 2)),),
    ),
    Hyperparameter(
        "bidirectional",
        _FLAG,
        GRAPH,
        networks=_ALL,
        search=(SearchRange("architecture", (True, False)),),
    ),
    Hyperparameter(
        "units",
        _COUNT,
        GRAPH,
        networks=(
            *_SEQUENCES,
            *_IMAGES,
            *_LSTMS_2D,
            "vil",
            *_SCANS_3D,
            "window_lstm",
        ),
        search=(SearchRange("architecture", (32, 64, 128)),),
    ),
    Hyperparameter(
        "network",
        (str, callable),
        GRAPH,
        search=(
            SearchRange("architecture", _SEQUENCES, networks=_SEQUENCES),
            SearchRange("architecture", _LSTMS_2D, networks=_LSTMS_2D),
            SearchRange("architecture", _IMAGES, networks=_IMAGES),
            SearchRange("architecture", _SCANS_3D, networks=_SCANS_3D),
        ),
    ),
    Hyperparameter(
        "attention",
        (Choice(("self", "multihead", "multiscale", "additive")), None),
        GRAPH,
        networks=(*_SEQUENCES, "window_lstm"),
        values_in={"LSTMDefectDetector": (Choice(("multihead", "self")), None)},
        search=(
            SearchRange(
                "architecture",
                (None, "self", "multihead", "multiscale", "additive"),
                networks=_SEQUENCES,
            ),
        ),
    ),
    Hyperparameter(
        "embedding",
        (Choice(("dense", "pixel")), None),
        GRAPH,
        networks=_SEQUENCES,
        search=(
            SearchRange("architecture", (None, "dense", "pixel"), networks=_SEQUENCES),
        ),
    ),
    Hyperparameter(
        "pooling",
        (Choice(("last", "mean", "max", "attention", "flatten")), None),
        GRAPH,
        networks=(*_SEQUENCES, *_LSTMS_2D, *_IMAGES, "vil"),
        search=(
            SearchRange(
                "architecture", ("last", "mean", "attention"), networks=_SEQUENCES
            ),
            SearchRange("architecture", (None, "mean", "max"), networks=_LSTMS_2D),
            SearchRange(
                "architecture", ("last", "mean", "max"), networks=(*_IMAGES, "vil")
            ),
        ),
    ),
    Hyperparameter(
        "patch_size",
        (*_COUNT, None),
        GRAPH,
        networks=_SCANS_2D,
        search=(SearchRange("architecture", PatchSizes((1, 2)), networks=_SCANS_2D),),
    ),
    Hyperparameter(
        "scan",
        (Choice(("lines", "positions")), None),
        GRAPH,
        networks=("bilstm2d", *_IMAGES),
    ),
    Hyperparameter(
        "input_noise",
        (*_NOT_NEGATIVE, None),
        VARIABLE,
        networks=_ALL,
        held_by=("HyperNoise", "stddev"),
        values_in={"LSTMDefectDetector": _NOT_NEGATIVE},
    ),
    Hyperparameter(
        "l2",
        _NOT_NEGATIVE,
        VARIABLE,
        networks=_ALL,
        held_by=("PenaltyStrength", "l2"),
    ),
    Hyperparameter("batch_norm", _FLAG, GRAPH, networks=(*_SEQUENCES, "window_lstm")),
    Hyperparameter("ordinal", _FLAG, GRAPH, networks=_CLASSES),
    Hyperparameter(
        "stem_kernels",
        (Choice(("plain", "harmonic")), None),
        GRAPH,
        networks=_IMAGES,
        search=(SearchRange("recipe", ("plain", "harmonic")),),
    ),
    Hyperparameter(
        "stem_blocks", (Choice(("plain", "residual")),), GRAPH, networks=_IMAGES
    ),
    Hyperparameter("stem_depth", (*_COUNT, None), GRAPH, networks=_IMAGES),
    Hyperparameter("stem_size", _COUNT, GRAPH, networks=_IMAGES),
    Hyperparameter(
        "stem_dropout",
        (Number(Real, 0, 1),),
        VARIABLE,
        networks=_IMAGES,
        held_by=("StemDropout", "rate"),
    ),
    Hyperparameter(
        "drop_path",
        (Number(Real, 0, 1),),
        VARIABLE,
        networks=(*_IMAGES, *_BLOCKS_2D),
        held_by=("DropPath", "rate"),
    ),
    Hyperparameter("backbone", (), READING, networks=_IMAGES, given_as="backbone"),
    Hyperparameter("backbone_layers", (Number(Integral, 0),), TRAINING),
    Hyperparameter("backbone_warmup", (Number(Real, 0, 1),), TRAINING),
    Hyperparameter("backbone_rate", (Number(Real, 0, closed="neither"),), TRAINING),
    Hyperparameter("contrast", (tuple, list, None), GRAPH, networks=("window_lstm",)),
    Hyperparameter("crf", _FLAG, GRAPH, networks=("window_lstm",)),
    Hyperparameter(
        "sequencer",
        (),
        READING,
        networks=(*_SEQUENCES, "window_lstm"),
        given_as="index_map",
    ),
    Hyperparameter("augmentation", (), READING, networks=_ALL, given_as="augmentation"),
    Hyperparameter("stem", _FLAG, READING, networks=("window_lstm",), given_as="stem"),
    Hyperparameter(
        "decoder",
        (*_FLAG, None),
        READING,
        networks=("window_lstm",),
        given_as="decoder",
    ),
    Hyperparameter("coverage", (Number(Real, 0, 1, "right"),), TRAINING),
    Hyperparameter(
        "positive_weight",
        (Number(Real, 0, closed="neither"), Choice(("balanced",))),
        TRAINING,
    ),
    Hyperparameter("focal_gamma", _NOT_NEGATIVE, TRAINING),
    Hyperparameter("sampling", (Choice(("balanced",)), None), TRAINING),
    Hyperparameter("synthetic_defects", (), TRAINING),
    Hyperparameter("optimizer", (), TRAINING),
    Hyperparameter("lr_schedule", (), TRAINING),
    Hyperparameter(
        "warmup",
        (Number(Real, 0, 1),),
        TRAINING,
        search=(SearchRange("recipe", Range(0.0, 0.2)),),
    ),
    Hyperparameter(
        "weight_decay",
        (*_NOT_NEGATIVE, None),
        TRAINING,
        search=(SearchRange("recipe", Range(0.03, 1.0, log=True)),),
    ),
    Hyperparameter("clipvalue", (Number(Real, 0, closed="neither"), None), TRAINING),
    Hyperparameter("gradient_accumulation_steps", _COUNT, TRAINING),
    Hyperparameter("batch_size", (*_COUNT, Choice(("auto",))), TRAINING),
    Hyperparameter(
        "epochs",
        (*_COUNT, Choice(("auto",))),
        TRAINING,
        values_in={"LSTMDefectDetector": _COUNT},
    ),
    Hyperparameter("average_epochs", _COUNT, TRAINING),
    Hyperparameter("early_stopping", _FLAG, TRAINING),
    Hyperparameter("patience", _COUNT, TRAINING),
    Hyperparameter("validation_fraction", (Number(Real, 0, 1, "neither"),), TRAINING),
    Hyperparameter("class_weight", (dict, Choice(("balanced",)), None), TRAINING),
    Hyperparameter(
        "label_smoothing",
        (Number(Real, 0, 1),),
        TRAINING,
        search=(SearchRange("recipe", Range(0.0, 0.2)),),
    ),
    # Two values and no range: zero and others are different graphs.
    Hyperparameter(
        "mixup",
        _NOT_NEGATIVE,
        TRAINING,
        search=(SearchRange("recipe", (0.0, 0.2)),),
    ),
    Hyperparameter("cutmix", _NOT_NEGATIVE, TRAINING),
    Hyperparameter("loss", (), TRAINING),
    Hyperparameter(
        "n_estimators",
        (*_COUNT, None),
        TRAINING,
        values_in={"LSTMDefectDetector": _COUNT},
    ),
    Hyperparameter("bootstrap", _FLAG, TRAINING),
    Hyperparameter("calibration", (Choice(("temperature",)), None), TRAINING),
)

# Parameters of the network functions, to the variables that hold them.
VARIABLES: dict[str, tuple[str, str]] = {
    row.name: row.held_by for row in TABLE if row.held_by is not None
}
# Parameters that estimators hand on to the network functions as they are.
NETWORK_PARAMS = tuple(
    row.name for row in TABLE if row.networks and row.role in (GRAPH, VARIABLE)
)
# Parameters of the network functions, to the estimators' parameters they come from.
READ_FROM = {row.given_as: row.name for row in TABLE if row.given_as is not None}


def own_params(names: Iterable[str]) -> list[str]:
    """Return those parameters of a network that are set as ``network__*``."""
    given = (*NETWORK_PARAMS, *READ_FROM, *FROM_DATA)
    return [f"network__{name}" for name in names if name not in given]


def search_range(row: Hyperparameter, level: str, network: Any) -> Any:
    """Return what `suggest_space` suggests for a hyperparameter.

    Parameters
    ----------
    row : Hyperparameter
        A row of the table.
    level : {"basic", "recipe", "architecture"}
        The level asked for.
    network : str or callable
        Network of the estimator.

    Returns
    -------
    Range, tuple, PatchSizes or None
        None if nothing is suggested.
    """
    for search in row.search:
        if search.level not in ("basic", level):
            continue
        own_or_none = callable(network) or not row.networks
        if search.networks is None and own_or_none:
            return search.over
        if network in (search.networks or row.networks):
            return search.over
    return None
