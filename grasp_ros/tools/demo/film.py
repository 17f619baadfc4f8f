"""Film of a run for people: a GIF of camera, goal and imagined plan, and a film strip."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grasp_ros.models.sensors import RgbImage

TILE = 256
MARGIN = 8
LINE = 20
WIDTH = 2 * TILE + 3 * MARGIN
STRIP_TILE = 112
STRIP_FRAMES = 5
PAPER = (250, 250, 247)
INK = (40, 42, 48)


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of an episode.

    Attributes:
        camera: (h, w, 3) uint8 RGB.
        goal: (h, w, 3) uint8 RGB.
        imagined: the plan as the model imagines it, (h', w', 3) uint8 RGB, or None.
        caption: one line for people.
    """

    camera: RgbImage
    goal: RgbImage
    imagined: RgbImage | None
    caption: str


@dataclass(eq=False)
class EpisodeFilm:
    """The frames of one episode, one for each step.

    Attributes:
        title: one line that says which episode this is.
        frames: in the order they were taken.
        outcome: one line that says how it ended.
    """

    title: str
    frames: list[Frame] = field(default_factory=list)
    outcome: str = ''


def save_gif(
    path: Path, episodes: Sequence[EpisodeFilm], step_s: float, max_bytes: int = 5_000_000
) -> int:
    """Write an animation that is as smooth as fits into `max_bytes`.

    Args:
        path: of the file to write; nothing is written where there are no frames.
        episodes: shown one after the other.
        step_s: time between two frames in seconds.
        max_bytes: frames are dropped evenly, then late episodes, until the file is no larger.

    Returns:
        The size of the file in bytes.
    """
    shown = [episode for episode in episodes if episode.frames]
    stride = 1
    while shown:
        data = _encode_gif(shown, stride, step_s)
        if len(data) <= max_bytes:
            path.write_bytes(data)
            return len(data)
        if stride < 8:
            stride *= 2
        else:
            shown = shown[:-1]
    return 0


def save_film_strip(path: Path, episodes: Sequence[EpisodeFilm], max_rows: int = 6) -> None:
    """Write one row for each episode: its start, frames along the way, its last, and the goal.

    Args:
        path: of the PNG to write; nothing is written where there are no frames.
        episodes: the first `max_rows` of them are shown.
        max_rows: see above.
    """
    shown = [episode for episode in episodes if episode.frames][:max_rows]
    if not shown:
        return
    columns = STRIP_FRAMES + 2
    row = LINE + STRIP_TILE + MARGIN
    size = (MARGIN + columns * (STRIP_TILE + MARGIN), LINE + len(shown) * row + MARGIN)
    canvas = Image.new('RGB', size, PAPER)
    draw = ImageDraw.Draw(canvas)
    lefts = [MARGIN + column * (STRIP_TILE + MARGIN) for column in range(columns)]
    for left, heading in ((lefts[0], 'start'), (lefts[-2], 'last'), (lefts[-1], 'goal')):
        _text(draw, (left, 4), heading)
    for index, episode in enumerate(shown):
        top = LINE + index * row
        _text(draw, (MARGIN, top + 4), f'{episode.title}: {episode.outcome}'.rstrip(': '))
        moments = np.linspace(0, len(episode.frames) - 1, columns - 1).round().astype(int)
        images = [episode.frames[moment].camera for moment in moments]
        for left, image in zip(lefts, [*images, episode.frames[-1].goal], strict=True):
            canvas.paste(_enlarged(image, STRIP_TILE), (left, top + LINE))
    canvas.save(path, optimize=True)


def _encode_gif(episodes: Sequence[EpisodeFilm], stride: int, step_s: float) -> bytes:
    moments: list[tuple[EpisodeFilm, int]] = []
    durations_ms: list[int] = []
    for episode in episodes:
        # The last frame of an episode is always shown, and longer than the others.
        last = len(episode.frames) - 1
        kept = [*range(0, last, stride), last]
        moments += [(episode, moment) for moment in kept]
        durations_ms += [round(1000 * step_s * stride)] * (len(kept) - 1) + [1000]
    strip_height = _strip_height(episodes)
    samples = moments[:: max(1, len(moments) // 16)]
    palette = _palette([_page(*sample, strip_height) for sample in samples])
    pages = [
        _page(*moment, strip_height).quantize(palette=palette, dither=Image.Dither.NONE)
        for moment in moments
    ]
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        format='GIF',
        save_all=True,
        append_images=pages[1:],
        duration=durations_ms,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _palette(samples: Sequence[Image.Image]) -> Image.Image:
    """One palette for all frames, so that what does not change costs nothing."""
    sheet = Image.new('RGB', (samples[0].width, sum(sample.height for sample in samples)))
    top = 0
    for sample in samples:
        sheet.paste(sample, (0, top))
        top += sample.height
    return sheet.quantize(colors=255)


def _page(episode: EpisodeFilm, moment: int, strip_height: int) -> Image.Image:
    """One frame of the animation."""
    frame = episode.frames[moment]
    below = 2 * LINE + MARGIN + TILE
    height = below + (LINE + strip_height if strip_height else 0) + MARGIN
    page = Image.new('RGB', (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(page)
    _text(draw, (MARGIN, 4), episode.title)
    last = moment == len(episode.frames) - 1
    _text(draw, (MARGIN, LINE + 2), episode.outcome if last and episode.outcome else frame.caption)
    right = 2 * MARGIN + TILE
    page.paste(_enlarged(frame.camera, TILE), (MARGIN, 2 * LINE + MARGIN))
    page.paste(_enlarged(frame.goal, TILE), (right, 2 * LINE + MARGIN))
    _label(draw, (MARGIN, 2 * LINE + MARGIN), 'camera')
    _label(draw, (right, 2 * LINE + MARGIN), 'goal')
    if frame.imagined is not None:
        _text(draw, (MARGIN, below + 3), 'imagined: now, the plan, goal')
        strip = Image.fromarray(frame.imagined)
        size = (WIDTH - 2 * MARGIN, _scaled_height(frame.imagined))
        page.paste(strip.resize(size, Image.Resampling.NEAREST), (MARGIN, below + LINE))
    return page


def _strip_height(episodes: Sequence[EpisodeFilm]) -> int:
    """Height in pixels to leave for imagined plans; 0 where there are none."""
    heights = [
        _scaled_height(frame.imagined)
        for episode in episodes
        for frame in episode.frames
        if frame.imagined is not None
    ]
    return max(heights, default=0)


def _scaled_height(strip: RgbImage) -> int:
    return max(1, round(strip.shape[0] * (WIDTH - 2 * MARGIN) / strip.shape[1]))


def _enlarged(rgb: RgbImage, side: int) -> Image.Image:
    """The image as a square of `side` pixels with its own pixels visible."""
    return Image.fromarray(rgb).resize((side, side), Image.Resampling.NEAREST)


def _text(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str) -> None:
    draw.text(position, text, fill=INK, font=ImageFont.load_default())


def _label(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str) -> None:
    """Text on a plate, readable on any image."""
    font = ImageFont.load_default()
    left, top = position
    width = round(draw.textlength(text, font=font)) + MARGIN
    draw.rectangle((left, top, left + width, top + LINE - 4), fill=PAPER)
    draw.text((left + MARGIN // 2, top + 2), text, fill=INK, font=font)
