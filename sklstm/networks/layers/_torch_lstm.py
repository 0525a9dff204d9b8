"""The steps of an LSTM in PyTorch's own kernel, on the CPU and in cuDNN."""

from typing import Any

import torch
from keras.src.backend.torch.core import get_device


def scan(x: Any, directions: list[tuple], return_sequences: bool) -> Any:
    """Run an LSTM in one or both directions.

    Keras and PyTorch order the gates alike (input, forget, cell, output). PyTorch keeps
    the transposed matrices, and two biases that it adds.

    Parameters
    ----------
    x : Tensor of shape (n, n_steps, n_features)
        Input.
    directions : list of tuple
        Kernel, recurrent kernel and bias of Keras, of one direction or of two. The
        second reads the steps backwards.
    return_sequences : bool
        Whether to return all steps, in the order of the input.

    Returns
    -------
    Tensor of shape (n, n_steps, k * units) or (n, k * units)
        Outputs of the k directions side by side. Without `return_sequences`, the output
        of each at the step it reads last.
    """
    params = []
    for kernel, recurrent, bias in directions:
        params += [kernel.t(), recurrent.t(), bias, torch.zeros_like(bias)]
    if x.is_cuda:
        params = _in_one_block(params)
    units = directions[0][1].shape[0]
    state = x.new_zeros(len(directions), x.shape[0], units)
    outputs, last, _ = torch._VF.lstm(
        x,
        (state, state),
        params,
        True,  # with biases
        1,  # layers
        0.0,  # dropout
        torch.is_grad_enabled(),
        len(directions) == 2,
        True,  # the batch comes first
    )
    if return_sequences:
        return outputs
    return last[0] if len(directions) == 1 else torch.cat([last[0], last[1]], dim=1)


def _in_one_block(params: list) -> list:
    """Return the parameters as views of one block of memory, in cuDNN's order.

    cuDNN refuses transposed matrices. Separate parameters are copied to such a block at
    each call, and PyTorch warns of that.
    """
    # The matrices of all directions come before the biases.
    order = sorted(range(len(params)), key=lambda i: i % 4 >= 2)
    block = torch.cat([params[i].reshape(-1) for i in order])
    views: list = [None] * len(params)
    parts = block.split([params[i].numel() for i in order])
    for i, part in zip(order, parts, strict=True):
        views[i] = part.view(params[i].shape)
    return views


def on_gpu() -> bool:
    """Return whether Keras computes on a GPU."""
    return get_device().startswith("cuda")
