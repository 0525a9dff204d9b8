"""The network of the defect detector, which scores every window of an image."""

from sklstm.networks.windows._lines import split_outputs, split_pixels
from sklstm.networks.windows._window_loss import WindowLoss
from sklstm.networks.windows._window_lstm import window_lstm

__all__ = ["WindowLoss", "split_outputs", "split_pixels", "window_lstm"]
