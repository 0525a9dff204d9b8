"""The order of an image's axes."""

from typing import Any

# Of images here, whatever Keras is set to.
CHANNELS_LAST: dict[str, Any] = {"data_format": "channels_last"}
