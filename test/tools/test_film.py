"""Films of made-up runs."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.tools.demo.film import EpisodeFilm, Frame, save_film_strip, save_gif

WORLD = TwoRooms()


def film(seed=0, steps=20, imagined=True, noise=False):
    episode = make_episode(WORLD, seed)
    shares = np.linspace(0.0, 1.0, steps)[:, None]
    cameras = WORLD.render(episode.start * (1 - shares) + episode.goal * shares)
    goal = WORLD.render(episode.goal[None])[0]
    rng = np.random.default_rng(seed)
    frames = []
    for step, camera in enumerate(cameras):
        strip = np.concatenate([camera] * 7 + [goal], axis=1)
        if noise:
            camera = rng.integers(0, 256, camera.shape, dtype=np.uint8)
        frames.append(Frame(camera, goal, strip if imagined else None, f'step {step}, RUNNING'))
    return EpisodeFilm(f'seed {seed}', frames, outcome='reached')


def found(page, tile):
    """Return row, column and largest difference of where a page is most like a tile."""
    distances = cv2.matchTemplate(page, tile, cv2.TM_SQDIFF)
    row, column = np.unravel_index(distances.argmin(), distances.shape)
    here = page[row : row + len(tile), column : column + len(tile[0])].astype(int)
    return row, column, np.abs(here - tile).max()


@pytest.mark.parametrize('imagined', [True, False])
def test_the_gif_shows_every_frame_and_the_outcome_for_longer(tmp_path, imagined):
    path = tmp_path / 'film.gif'
    size = save_gif(path, [film(0, imagined=imagined), film(1, imagined=imagined)], step_s=0.1)
    assert size == path.stat().st_size
    with Image.open(path) as gif:
        durations = [frame.info['duration'] for frame in ImageSequence.Iterator(gif)]
    assert sum(durations) == pytest.approx(2 * (19 * 100 + 1000))
    assert max(durations) == 1000


def test_the_gif_shows_the_cameras_picture_enlarged(tmp_path):
    episode = film(0, steps=1)
    save_gif(tmp_path / 'film.gif', [episode], step_s=0.1)
    with Image.open(tmp_path / 'film.gif') as gif:
        page = np.asarray(gif.convert('RGB'))
    enlarged = np.kron(episode.frames[0].camera, np.ones((4, 4, 1), np.uint8))
    below_the_label = enlarged[len(enlarged) // 8 :]
    assert found(page, below_the_label)[2] <= 8  # a palette of 256 colours


def test_a_gif_that_is_too_large_loses_frames(tmp_path):
    films = [film(seed, steps=16, noise=True) for seed in range(3)]
    whole = save_gif(tmp_path / 'whole.gif', films, step_s=0.1)
    small = save_gif(tmp_path / 'small.gif', films, step_s=0.1, max_bytes=whole // 3)
    assert 0 < small <= whole // 3
    tiny = save_gif(tmp_path / 'tiny.gif', films, step_s=0.1, max_bytes=1000)
    assert tiny == 0
    assert not (tmp_path / 'tiny.gif').exists()


def test_the_film_strip_has_a_row_for_each_episode(tmp_path):
    heights = []
    for count in (1, 2, 6, 8):
        save_film_strip(tmp_path / 'strip.png', [film(seed, steps=4) for seed in range(count)])
        with Image.open(tmp_path / 'strip.png') as strip:
            heights.append(strip.height)
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_the_film_strip_begins_with_the_start_and_ends_with_the_goal(tmp_path):
    episode = film(2)
    save_film_strip(tmp_path / 'strip.png', [episode])
    with Image.open(tmp_path / 'strip.png') as strip:
        page = np.asarray(strip.convert('RGB'))
    first, last = episode.frames[0], episode.frames[-1]
    columns = []
    for image in (first.camera, last.camera, last.goal):
        tile = Image.fromarray(image).resize((112, 112), Image.Resampling.NEAREST)
        _, column, difference = found(page, np.asarray(tile))
        assert difference == 0
        columns.append(column)
    assert columns == sorted(columns)


def test_without_frames_nothing_is_written(tmp_path):
    assert save_gif(tmp_path / 'film.gif', [EpisodeFilm('empty')], step_s=0.1) == 0
    save_film_strip(tmp_path / 'strip.png', [EpisodeFilm('empty')])
    assert not list(tmp_path.iterdir())
