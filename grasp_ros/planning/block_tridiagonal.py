"""Symmetric systems whose matrix is banded in time: the normal equations of a trajectory."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_banded(band: Tensor, right: Tensor) -> Tensor:
    """Solve M x = right for a symmetric positive definite block-banded M, by block Cholesky.

    Groups of W neighbouring blocks make M block-tridiagonal, which takes one factorisation a group
    (Golub & Van Loan, Matrix Computations, section 4.5).

    Args:
        band: (R, N, W + 1, n, n); band[:, k, o] is the block of M in row k, column k + o. Blocks
            beyond the last column are ignored.
        right: (R, N, n).

    Returns:
        x (R, N, n); not finite where M is not positive definite.
    """
    rows, count, offsets, size = band.shape[:4]
    width = offsets - 1
    groups = -(-count // width)
    missing = groups * width - count
    if missing:
        # Unknowns of no equation: their diagonal is the identity.
        filling = band.new_zeros((rows, missing, offsets, size, size))
        filling[:, :, 0] = torch.eye(size, dtype=band.dtype, device=band.device)
        inside = torch.arange(count, device=band.device)[:, None] + torch.arange(
            offsets, device=band.device
        ) < count
        band = torch.cat([band * inside[:, :, None, None], filling], dim=1)
        right = torch.cat([right, right.new_zeros((rows, missing, size))], dim=1)
    band = band.unflatten(1, (groups, width))
    diagonal, upper = _grouped(band)
    right = right.reshape(rows, groups, width * size, 1)
    factors, coupled, forward = [], [], []
    pivot, target = diagonal[:, 0], right[:, 0]
    for group in range(groups):
        factor = torch.linalg.cholesky_ex(pivot).L
        factors.append(factor)
        forward.append(torch.cholesky_solve(target, factor))
        if group + 1 < groups:
            link = upper[:, group]
            coupled.append(torch.cholesky_solve(link, factor))
            pivot = diagonal[:, group + 1] - link.mT @ coupled[-1]
            target = right[:, group + 1] - link.mT @ forward[-1]
    found = [forward[-1]]
    for group in range(groups - 2, -1, -1):
        found.append(forward[group] - coupled[group] @ found[-1])
    solution = torch.stack(found[::-1], dim=1)
    return solution.reshape(rows, groups * width, size)[:, :count]


def _grouped(band: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal and upper blocks (R, G, W * n, W * n) of a band (R, G, W, W + 1, n, n)."""
    rows, groups, width, _, size = band.shape[:5]
    shape = (rows, groups, width, size, width, size)
    diagonal, upper = band.new_zeros(shape), band.new_zeros(shape)
    for row in range(width):
        for column in range(row, width):
            block = band[:, :, row, column - row]
            diagonal[:, :, row, :, column] = block
            diagonal[:, :, column, :, row] = block.mT
        for column in range(row + 1):
            upper[:, :, row, :, column] = band[:, :, row, width + column - row]
    grouped = (rows, groups, width * size, width * size)
    return diagonal.reshape(grouped), upper.reshape(grouped)
