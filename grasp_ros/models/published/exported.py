"""Any world model as two programs of torch.export: an encoder and a predictor."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from grasp_ros.models.errors import CheckpointError, TrustError, is_trusted, trusted_file
from grasp_ros.models.protocol import Observation

ENCODER_NAME, PREDICTOR_NAME = 'encoder.pt2', 'predictor.pt2'
COLOURS = 3
EXAMPLE = 2
"""Rows that a program is tried with: more than one, as torch.export asks for."""


@dataclass(frozen=True)
class ExportedConfig:
    """Shapes that two programs agree on.

    Attributes:
        image_height: rows of the input image, px.
        image_width: its columns, px.
        history: frames that are predicted from.
        action_dim: A.
        latent_dim: D, components of the latent, or of each of its tokens.
        tokens: P of a latent (P, D); 0 for one vector (D,).
    """

    cameras: ClassVar[int] = 1
    proprioception: ClassVar[int] = 0
    image_height: int
    image_width: int
    history: int
    action_dim: int
    latent_dim: int
    tokens: int = 0

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Z."""
        return (self.tokens, self.latent_dim) if self.tokens else (self.latent_dim,)


class ExportedModel(nn.Module):
    """Two programs behind the WorldModel protocol.

    The encoder takes images (N, 3, h, w) in [0, 1] to latents (N, *Z), the predictor latents
    (N, H, *Z) and normalised actions (N, H, A) to the next latents (N, *Z), for any N.
    """

    def __init__(
        self,
        config: ExportedConfig,
        encoder: nn.Module,
        predictor: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Join programs whose shapes have been checked and that are on the device."""
        super().__init__()
        self.config = config
        self.encoder, self.predictor = encoder, predictor
        self.device, self.dtype = device, dtype
        self.latent_shape = config.latent_shape
        self.action_dim, self.history = config.action_dim, config.history

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Images (B, K, 3, h, w) in [0, 1] to latents (B, K, *Z)."""
        images = observation.images.to(self.device, self.dtype)
        return self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Encode; see `WorldModel.encode`."""
        return self.predictor(latents, actions)


def load_exported(
    folder: Path,
    digests: Mapping[str, str],
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> ExportedModel:
    """Load two programs, if their contents are those expected and the user trusts them.

    Loading such a program may run what its author has put into it: PyTorch unpickles parts of it,
    evaluates expressions in it and looks functions up by name.

    Args:
        folder: holds `encoder.pt2` and `predictor.pt2`.
        digests: SHA-256 of each, by name.
        device: to run on.
        dtype: of weights, latents and actions.

    Raises:
        CheckpointError: if a file cannot be read, is another one than expected, or does not give
            what it should.
        TrustError: if the user has not trusted it.
    """
    where = torch.device(device)
    contents = {name: _content(folder / name, digests[name]) for name in digests}
    for name, digest in digests.items():
        if not is_trusted(digest):
            raise TrustError(
                f'{folder / name}: a program, which can run code of its author as it is loaded, '
                f'and not among those that you trust ({trusted_file()}); if you know where it '
                'comes from, convert it on this machine with '
                '`python -m grasp_ros.models.convert --trust`'
            )
    encoder, predictor = (
        _program(folder / name, contents[name]) for name in (ENCODER_NAME, PREDICTOR_NAME)
    )
    config = shapes_of(encoder, predictor, folder)
    modules = [
        move_to_device_pass(program, where).module().to(dtype).requires_grad_(False)
        for program in (encoder, predictor)
    ]
    model = ExportedModel(config, modules[0], modules[1], where, dtype)
    _try(model, folder)
    return model


def _content(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise CheckpointError(
            f'{path}: SHA-256 is {found}, but the manifest says {digest}: the file is truncated '
            'or not the one the manifest was written for; copy all again'
        )
    return content


def _program(path: Path, content: bytes) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise CheckpointError(f'{path}: not a program of torch.export: {error}') from error


def shapes_of(encoder: Any, predictor: Any, folder: Path) -> ExportedConfig:
    """Shapes that both programs agree on, input and output.

    Args:
        encoder: ExportedProgram.
        predictor: the same.
        folder: where they lie, for messages.

    Raises:
        CheckpointError: naming the program whose inputs or outputs are not as they must be.
    """
    where = folder / ENCODER_NAME
    (shape,) = _inputs(encoder, where, ['images (N, 3, h, w)'])
    if len(shape) != 3 or shape[0] != COLOURS:
        raise CheckpointError(f'{where}: takes (N, {_text(shape)}), not images (N, 3, h, w)')
    latent = _output(encoder, where)
    if len(latent) not in (1, 2):
        raise CheckpointError(f'{where}: gives (N, {_text(latent)}), not (N, D) or (N, P, D)')
    where = folder / PREDICTOR_NAME
    context, actions = _inputs(predictor, where, ['latents (N, H, *Z)', 'actions (N, H, A)'])
    following = _output(predictor, where)
    if context[1:] != latent or following != latent or len(actions) != 2:
        raise CheckpointError(
            f'{where}: takes (N, {_text(context)}) and (N, {_text(actions)}) and gives '
            f'(N, {_text(following)}); with latents (N, {_text(latent)}) it must take '
            f'(N, H, {_text(latent)}) and (N, H, A) and give (N, {_text(latent)})'
        )
    if actions[0] != context[0]:
        raise CheckpointError(
            f'{where}: takes {context[0]} frames but {actions[0]} actions; one leaves each frame'
        )
    return ExportedConfig(
        image_height=shape[1],
        image_width=shape[2],
        history=context[0],
        action_dim=actions[1],
        latent_dim=latent[-1],
        tokens=latent[0] if len(latent) == 2 else 0,
    )


def _inputs(program: Any, path: Path, expected: list[str]) -> list[tuple[int, ...]]:
    """Shapes of the inputs without their first dimension, which must be free."""
    names = program.graph_signature.user_inputs
    if len(names) != len(expected):
        raise CheckpointError(
            f'{path}: takes {len(names)} inputs; it must take {", ".join(expected)}'
        )
    return [_shape(program, name, path) for name in names]


def _output(program: Any, path: Path) -> tuple[int, ...]:
    names = program.graph_signature.user_outputs
    if len(names) != 1:
        raise CheckpointError(f'{path}: gives {len(names)} outputs; it must give one tensor')
    return _shape(program, names[0], path)


def _shape(program: Any, name: str, path: Path) -> tuple[int, ...]:
    (value,) = [node.meta['val'] for node in program.graph.nodes if node.name == name]
    sizes: list[Any] = list(value.shape) if isinstance(value, Tensor) else []
    if not sizes or isinstance(sizes[0], int):
        raise CheckpointError(
            f'{path}: {name} must have a free first dimension N; export with '
            "dynamic_shapes={0: torch.export.Dim('N')} for each input"
        )
    if not all(isinstance(size, int) for size in sizes[1:]):
        raise CheckpointError(f'{path}: {name} may have no free dimension but the first')
    return tuple(sizes[1:])


def _text(shape: tuple[int, ...]) -> str:
    return ', '.join(map(str, shape))


def _try(model: ExportedModel, folder: Path) -> None:
    """Check that the predictor is differentiable and treats each row of a batch alone."""
    config = model.config
    like: dict[str, Any] = {'device': model.device, 'dtype': model.dtype}
    latents = torch.linspace(-1, 1, EXAMPLE * config.history * config.latent_dim, **like)
    latents = latents.view(EXAMPLE, config.history, *[1] * bool(config.tokens), config.latent_dim)
    latents = latents.expand(EXAMPLE, config.history, *config.latent_shape).contiguous()
    actions = torch.zeros(EXAMPLE, config.history, config.action_dim, **like).requires_grad_()
    path = folder / PREDICTOR_NAME
    try:
        following = model.predict(latents, actions)
        alone = model.predict(latents[:1], actions[:1])
        # Not the plain sum, which normalised outputs have in common.
        weights = torch.linspace(0, 1, following.numel(), **like).view_as(following)
        total = (weights * following).sum()
        (gradient,) = torch.autograd.grad(total, [actions], allow_unused=True)
    except Exception as error:
        raise CheckpointError(f'{path}: cannot be run and differentiated: {error}') from error
    if gradient is None or not gradient.abs().sum() > 0:
        raise CheckpointError(f'{path}: its output does not depend on the actions')
    if not torch.allclose(alone, following[:1], rtol=1e-3, atol=1e-4):
        raise CheckpointError(
            f'{path}: gives another output for a row alone than among others; export it in '
            'evaluation mode'
        )
