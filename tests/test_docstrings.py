"""Public docstrings follow numpydoc. Their examples run too: pytest doctests sklstm."""

import inspect

from sklstm._keras import keras

import pytest
from numpydoc.validate import validate

import sklstm
from sklstm import networks
from sklstm.predictor import ExportedDetector, ExportedPredictor

# What is not asked for anywhere, and why. All other codes of numpydoc are.
IGNORED = {
    "GL01": "a summary may start on the line of the opening quotes",
    "GL02": "a one-line docstring closes on its own line",
    "ES01": "an extended summary is for what the summary does not say",
    "SA01": "'See Also' is for where there is something to see",
    "RT02": "a returned value may be named, as scikit-learn does",
}
# What is not asked for in methods and properties.
IGNORED_IN_MEMBERS = {
    "EX01": "the example of the class shows them",
}


def is_layer(value):
    return inspect.isclass(value) and issubclass(value, keras.layers.Layer)


# What is documented besides the names in `sklstm.__all__`.
OTHERS = [
    "sklstm.estimators.clear_pool",
    "sklstm.estimators.set_compilation_cache",
    "sklstm.estimators.set_pool_size",
    "sklstm.estimators.watch_epochs",
    "sklstm.exporting.ExportReport",
    "sklstm.exporting.register_skl2onnx",
    "sklstm.images.validate_images",
    "sklstm.inspection.AttributionDisplay",
    "sklstm.inspection.ReliabilityDisplay",
    "sklstm.inspection.RiskCoverageDisplay",
    "sklstm.inspection.ScanDisplay",
    "sklstm.inspection.SearchDisplay",
    "sklstm.inspection.attribute",
    "sklstm.inspection.faithfulness",
    "sklstm.metrics.expected_calibration_error",
    "sklstm.metrics.quadratic_weighted_kappa",
    "sklstm.model_selection.suggest_space",
    *(
        f"sklstm.networks.{name}"
        for name in networks.__all__
        if name not in ("NETWORKS", "Network", "SavedNetwork")  # of no use in a script
        and not is_layer(getattr(networks, name))
    ),
]
# Layers are parts of networks.
LAYERS = [
    f"sklstm.networks.{name}"
    for name, value in vars(networks).items()
    if is_layer(value)
]
WITH_EXAMPLES = {*OTHERS, *LAYERS}


def own_members(cls):
    """Names of the public methods and properties of a class that sklstm defines.

    Those that every Keras layer has are documented by Keras.
    """
    for name, member in inspect.getmembers_static(cls):
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if (
            not name.startswith("_")
            and not (is_layer(cls) and hasattr(keras.layers.Layer, name))
            and callable(function)
            and str(getattr(function, "__module__", "")).startswith("sklstm")
        ):
            yield name


def documented():
    """Dotted names of what is public, and of the public members of classes."""
    yield from OTHERS
    for exported in (ExportedDetector, ExportedPredictor):
        for name in own_members(exported):
            yield f"sklstm.predictor.{exported.__name__}.{name}"
    for home in LAYERS:
        yield home
        layer = getattr(networks, home.rpartition(".")[2])
        yield from (f"{home}.{name}" for name in own_members(layer))
    for public in sklstm.__all__:
        value = getattr(sklstm, public)
        home = f"{value.__module__}.{value.__name__}"
        yield home
        if inspect.isclass(value):
            yield from (f"{home}.{name}" for name in own_members(value))


@pytest.mark.parametrize("name", list(documented()))
def test_numpydoc(name):
    report = validate(name)
    ignored = set(IGNORED)
    if name.rpartition(".")[2] not in sklstm.__all__ and name not in WITH_EXAMPLES:
        ignored |= set(IGNORED_IN_MEMBERS)
    errors = [error for error in report["errors"] if error[0] not in ignored]
    assert not errors, "\n".join([name, *map(" ".join, errors)])


def test_members_are_found():
    # The control: an empty list of members would pass everything.
    assert {"fit", "transform"} <= set(own_members(sklstm.RowSequencer))
    assert {"fit", "predict"} <= set(own_members(sklstm.LSTMImageClassifier))
    assert set(own_members(networks.AttentionPooling)) == {"step_weights"}
    assert len(LAYERS) >= 5
