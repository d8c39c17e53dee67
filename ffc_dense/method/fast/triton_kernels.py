"""Triton kernels of the filter chain; the only module that imports Triton at its top.

A program holds a tile of (BLOCK_P positions, BLOCK_C >= C features) in registers and walks over the tiles of the
input. All arithmetic is fp32. Shape shorthand as in ``fast/__init__.py``; positions of all images are counted through,
N * P of them, and each tensor comes with its strides (image, position, feature).
"""

import triton
import triton.language as tl

HUGE = tl.constexpr(1e15)  # as in filtering.py


@triton.jit
def _scale(x):
    """What each position of the tile is divided by so that no feature exceeds HUGE: (BLOCK_P,)."""
    return tl.maximum(tl.max(tl.abs(x), axis=1) / HUGE, 1.0)


@triton.jit
def forward_kernel(
    x_ptr, out_ptr, affine_ptr, eps_ptr, share_ptr, mean_ptr, rstd_ptr,
    total, per_image,
    x_image, x_position, x_feature, out_image, out_position, out_feature,
    C: tl.constexpr, FILTERS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write the weighted sum of the stages, and mean and reciprocal deviation (FILTERS, total) of every filter.

    affine: (FILTERS, 2, C) weights and biases; eps: (FILTERS,); share: (FILTERS + 1,), the weights of the stages.
    """
    features = tl.arange(0, BLOCK_C)
    inside = features < C
    for tile in range(tl.program_id(0), tl.cdiv(total, BLOCK_P), tl.num_programs(0)):
        positions = (tile * BLOCK_P + tl.arange(0, BLOCK_P)).to(tl.int64)
        known = positions < total
        mask = known[:, None] & inside[None, :]
        image, position = positions // per_image, positions % per_image
        at = (image * x_image + position * x_position)[:, None] + features[None, :] * x_feature
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        feature = x / _scale(x)[:, None]
        summed = x * tl.load(share_ptr)
        for i in tl.static_range(FILTERS):
            weight = tl.load(affine_ptr + 2 * i * C + features, mask=inside, other=0.0)
            bias = tl.load(affine_ptr + (2 * i + 1) * C + features, mask=inside, other=0.0)
            mean = tl.sum(feature, axis=1) / C
            centred = tl.where(mask, feature - mean[:, None], 0.0)
            rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / C + tl.load(eps_ptr + i))
            tl.store(mean_ptr + i * total + positions, mean, mask=known)
            tl.store(rstd_ptr + i * total + positions, rstd, mask=known)
            feature = tl.maximum(centred * rstd[:, None] * weight[None, :] + bias[None, :], 0.0)
            summed += feature * tl.load(share_ptr + i + 1)
        at = (image * out_image + position * out_position)[:, None] + features[None, :] * out_feature
        tl.store(out_ptr + at, summed.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def backward_kernel(
    x_ptr, grad_ptr, grad_x_ptr, sum_ptr, partial_ptr, affine_ptr, share_ptr, mean_ptr, rstd_ptr,
    total, per_image,
    x_image, x_position, x_feature, grad_image, grad_position, grad_feature, out_image, out_position, out_feature,
    C: tl.constexpr, FILTERS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From the gradient of the weighted sum, write that of x, the sum itself, and the filters' partial gradients.

    The stages are recomputed from x and the statistics, from the first one for each filter: arithmetic is cheaper than
    registers. partial: (programs, FILTERS, 2, C), zero at the start; each program adds to its own part in a fixed
    order, so that the result is deterministic. grad_x and sum share their strides.
    """
    features = tl.arange(0, BLOCK_C)
    inside = features < C
    partial_ptr += tl.program_id(0).to(tl.int64) * FILTERS * 2 * C
    for tile in range(tl.program_id(0), tl.cdiv(total, BLOCK_P), tl.num_programs(0)):
        positions = (tile * BLOCK_P + tl.arange(0, BLOCK_P)).to(tl.int64)
        known = positions < total
        mask = known[:, None] & inside[None, :]
        image, position = positions // per_image, positions % per_image
        at = (image * x_image + position * x_position)[:, None] + features[None, :] * x_feature
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        at = (image * grad_image + position * grad_position)[:, None] + features[None, :] * grad_feature
        grad = tl.load(grad_ptr + at, mask=mask, other=0.0).to(tl.float32)
        scale = _scale(x)
        summed = x * tl.load(share_ptr)
        incoming = grad * tl.load(share_ptr + FILTERS)
        for back in tl.static_range(FILTERS):
            feature = x / scale[:, None]
            for i in tl.static_range(FILTERS - back):
                mean = tl.load(mean_ptr + i * total + positions, mask=known, other=0.0)
                rstd = tl.load(rstd_ptr + i * total + positions, mask=known, other=0.0)
                weight = tl.load(affine_ptr + 2 * i * C + features, mask=inside, other=0.0)
                bias = tl.load(affine_ptr + (2 * i + 1) * C + features, mask=inside, other=0.0)
                normal = tl.where(mask, (feature - mean[:, None]) * rstd[:, None], 0.0)
                feature = tl.maximum(normal * weight[None, :] + bias[None, :], 0.0)
                if back == 0:
                    summed += feature * tl.load(share_ptr + i + 1)
            # Here ``normal``, ``feature``, ``weight`` and ``rstd`` are those of filter number FILTERS - 1 - back.
            through = tl.where(feature > 0, incoming, 0.0)
            here = partial_ptr + 2 * (FILTERS - 1 - back) * C + features
            tl.store(here, tl.load(here, mask=inside) + tl.sum(through * normal, axis=0), mask=inside)
            tl.store(here + C, tl.load(here + C, mask=inside) + tl.sum(through, axis=0), mask=inside)
            through *= weight[None, :]
            constant = (tl.sum(through, axis=1) / C)[:, None]
            along = (tl.sum(through * normal, axis=1) / C)[:, None]
            below = rstd[:, None] * (through - constant - normal * along)
            if back == FILTERS - 1:
                below /= scale[:, None]
            incoming = below + grad * tl.load(share_ptr + FILTERS - 1 - back)
        at = (image * out_image + position * out_position)[:, None] + features[None, :] * out_feature
        tl.store(grad_x_ptr + at, incoming.to(grad_x_ptr.dtype.element_ty), mask=mask)
        tl.store(sum_ptr + at, summed.to(sum_ptr.dtype.element_ty), mask=mask)
        tl.debug_barrier()  # every thread of the program sees the partial sums before the next tile adds to them
