"""A user's own network that was loaded from a file without its function."""

import json
from dataclasses import dataclass, field
from typing import Any

from sklstm._keras import keras


@dataclass(frozen=True)
class SavedNetwork:
    """Replacement for a network function that was not available at loading.

    It builds the saved network again and ignores its parameters. That is enough
    to predict with the saved weights, but not to train a new network.

    Parameters
    ----------
    name : str
        Module and name of the function.
    takes : {"sequences", "images", "volumes"}
        Kind of the samples.
    config : str
        Configuration of the network in Keras' format, as JSON. It contains the
        augmentation and the scan.
    """

    name: str
    takes: str
    config: str = field(repr=False)

    def __call__(self, **params: Any) -> keras.Model:
        """Build the network.

        Parameters
        ----------
        **params : dict
            Ignored.

        Returns
        -------
        keras.Model
            Network with untrained weights.
        """
        config = json.loads(self.config)
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
