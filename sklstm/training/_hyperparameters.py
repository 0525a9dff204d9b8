"""The parameters of estimators that their networks are given."""

from collections.abc import Iterable

# What a network is given besides, and the parameter that it comes from.
READING = {"index_map": "sequencer", "augmentation": "augmentation", "stem": "stem"}
FROM_DATA = ("input_shape", "n_classes", "grid")
# What a network is given of the estimator's own parameters, if it takes them.
SHARED_PARAMS = (
    "units",
    "n_layers",
    "bidirectional",
    "embedding",
    "attention",
    "pooling",
    "input_noise",
    "dropout",
    "l2",
    "batch_norm",
    "ordinal",
    "contrast",
    "crf",
)


def own_params(names: Iterable[str]) -> list[str]:
    """Return those parameters of a network that are set as ``network__*``."""
    given = (*SHARED_PARAMS, *READING, *FROM_DATA)
    return [f"network__{name}" for name in names if name not in given]
