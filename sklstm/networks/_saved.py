"""A user's own network, brought by a file: what is left of it without its function."""

import json
from dataclasses import dataclass, field
from typing import Any

from sklstm._keras import keras


@dataclass(frozen=True)
class SavedNetwork:
    """Stands for a function that was not there when its network was loaded.

    It builds that one network, whatever it is asked for, so that weights can be put
    into it: enough to predict, and no network to train another estimator with.

    Parameters
    ----------
    name : str
        Module and name of the function.
    takes : {"sequences", "images", "volumes"}
        What one sample is.
    config : str
        Keras' description of the layers, augmentation and scan included, as JSON.
    """

    name: str
    takes: str
    config: str = field(repr=False)

    def __call__(self, **params: Any) -> keras.Model:
        """Build the network."""
        config = json.loads(self.config)
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
