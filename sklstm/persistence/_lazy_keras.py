"""Access to Keras for those estimators alone that contain Keras objects."""

from typing import Any


def keras_objects() -> Any:
    """Import and return the module `_keras_objects`."""
    # This keeps Keras out of saving and loading transformers and scikit-learn's own
    # estimators.
    from sklstm.persistence import _keras_objects

    return _keras_objects
