"""Which library computes the products of linear layers: what torch chooses, or oneDNN.

On processors that are not Intel's, torch's choice for f32 (MKL) can be several times slower than oneDNN, which torch
ships too and uses for bf16. No option sends f32 there, so nobody who runs transformers or TRL gets it; it shows what
torch could do.
"""

import contextlib

import torch

#: Below this many rows the packing costs more than the product.
LEAST_ROWS = 16

_product = torch.ops.mkldnn._linear_pointwise
_linear = torch.nn.functional.linear


def _times_transposed(lhs, rhs):
    """`lhs · rhsᵀ` of matrices."""
    return _product(lhs.contiguous(), rhs.contiguous(), None, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight):
        ctx.save_for_backward(rows, weight)
        return _times_transposed(rows, weight)

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        of_rows = _times_transposed(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        of_weight = _times_transposed(gradient.t(), rows.t()) if ctx.needs_input_grad[1] else None
        return of_rows, of_weight


def _onednn_linear(values, weight, bias=None):
    rows = values.reshape(-1, values.shape[-1])
    if bias is not None or rows.shape[0] < LEAST_ROWS or weight.dtype != torch.float32:
        return _linear(values, weight, bias)
    return _Linear.apply(rows, weight).reshape(*values.shape[:-1], weight.shape[0])


@contextlib.contextmanager
def computed_by(library):
    """Linear layers use `library` ("torch" or "onednn") within this context."""
    torch.nn.functional.linear = _onednn_linear if library == "onednn" else _linear
    try:
        yield
    finally:
        torch.nn.functional.linear = _linear
