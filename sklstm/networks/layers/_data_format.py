"""The position of the channels in an image."""

from typing import Any

# Images have their channels last in this package, even if Keras is set to
# "channels_first". Layers on images are given this.
CHANNELS_LAST: dict[str, Any] = {"data_format": "channels_last"}
