"""How unlike its training data a picture is to a world model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grasp_ros.models.protocol import HasDecoder, HasManifold, WorldModel, side_by_side


@dataclass(frozen=True, eq=False)
class Novelty:
    """The larger of two measures, each in units of what 1 of 1000 familiar pictures exceeds.

    Either misses what the other sees: the decoder leaves out what the encoder ignores, as noise
    and changed colours; the denoiser of latents knows which latents no familiar picture has.

    Attributes:
        model: the world model.
        reconstruction_bound: of `reconstruction_error`; None leaves it out.
        off_manifold_bound: of the model's `off_manifold`; None leaves it out.
    """

    model: WorldModel
    reconstruction_bound: float | None = None
    off_manifold_bound: float | None = None

    @torch.no_grad()
    def __call__(self, latents: Tensor, images: Tensor) -> Tensor:
        """Novelty (N) of pictures.

        Args:
            latents: (N, *Z), what the images are encoded to.
            images: (N, 3, h, w) in [0, 1]; of C cameras (N, C, 3, h, w).
        """
        measures = [latents.new_zeros(len(latents))]
        if self.reconstruction_bound is not None:
            error = reconstruction_error(self.model, latents, images)
            measures.append(error / self.reconstruction_bound)
        if self.off_manifold_bound is not None:
            distance = cast(HasManifold, self.model).off_manifold(latents)
            measures.append(distance / self.off_manifold_bound)
        return torch.stack(measures).amax(dim=0)


@torch.no_grad()
def reconstruction_error(model: WorldModel, latents: Tensor, images: Tensor) -> Tensor:
    """Root-mean-square error (N) of decoded latents (N, *Z) to their images.

    Images are (N, 3, h, w), or (N, C, 3, h, w) of C cameras.
    """
    decoded = cast(HasDecoder, model).decode(latents)
    return (decoded - side_by_side(images.to(decoded))).square().mean(dim=(1, 2, 3)).sqrt()
