"""Frames one model step apart, each encoded once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grasp_ros.control.observation import (
    Goal,
    ObservationEncoder,
    SensorData,
    StampedObservation,
    split_goal,
)
from grasp_ros.models.protocol import LoadedModel
from harness.toy_models import ToyModel

MS = 1_000_000
STEP = 100 * MS


def image(value):
    return np.full((1, 1, 3), value, np.uint8)


def frames(*stamps_ms):
    """Images that tell their stamp."""
    return tuple(StampedObservation(image(ms % 251), ms * MS) for ms in stamps_ms)


class Reader(ToyModel):
    """Encodes an image as its value; counts."""

    def __init__(self, history):
        self.history = history
        self.encoded = []

    def encode(self, observation):
        value = round(255 * float(observation.images[0, 0, 0, 0, 0]))
        self.encoded.append(value)
        return torch.tensor([[[float(value)]]])


def encoder_of(history):
    model = Reader(history)

    def preprocess(rgb):
        return rgb.transpose(2, 0, 1).astype(np.float32) / 255

    return ObservationEncoder(LoadedModel(model, preprocess, SimpleNamespace()), STEP), model


def chosen(history, *stamps_ms):
    encoder, _ = encoder_of(history)
    context = encoder.encode(frames(*stamps_ms)).context
    assert context.latents.shape == (1, history, 1)
    assert context.latents[0, :, 0].tolist() == [ns // MS % 251 for ns in context.stamps_ns]
    return [stamp // MS for stamp in context.stamps_ns]


def test_one_frame_of_history_is_the_newest():
    assert chosen(1, 1000, 1033, 1066) == [1066]


def test_frames_one_model_step_apart():
    assert chosen(3, 1000, 1100, 1200, 1300) == [1100, 1200, 1300]


def test_a_faster_camera_with_jitter():
    stamps = [1000, 1035, 1064, 1101, 1131, 1168, 1199, 1235, 1268, 1300]
    assert chosen(3, *stamps) == [1101, 1199, 1300]


def test_the_nearest_frame_is_taken():
    assert chosen(2, 1000, 1060, 1100, 1180) == [1060, 1180]


def test_a_short_history_is_padded_with_its_oldest_frame():
    assert chosen(4, 1000) == [1000] * 4
    assert chosen(4, 1000, 1100) == [1000, 1000, 1000, 1100]
    assert chosen(3, 1170, 1200) == [1200, 1200, 1200], 'nothing a model step ago'


def test_half_a_step_is_the_most_that_a_frame_may_be_off():
    assert chosen(2, 1050, 1200) == [1050, 1200]
    assert chosen(2, 1049, 1200) == [1200, 1200]


def test_a_gap_is_filled_with_the_next_frame():
    assert chosen(3, 1000, 1200) == [1000, 1200, 1200]


def test_each_frame_is_encoded_once_and_old_ones_are_dropped():
    encoder, model = encoder_of(3)
    stamps = list(range(1000, 4000, 50))
    for count in range(1, len(stamps) + 1):
        encoder.encode(frames(*stamps[max(0, count - 20) : count]))
        assert len(encoder._latents) <= 8
    assert len(model.encoded) == len(stamps)


def test_forgotten_frames_are_encoded_again():
    encoder, model = encoder_of(1)
    encoder.encode(frames(1000))
    encoder.encode(frames(1000))
    assert len(model.encoded) == 1
    encoder.reset()
    encoder.encode(frames(1000))
    assert len(model.encoded) == 2


def test_the_newest_frame_comes_with_its_data_and_the_images_given_to_the_model():
    encoder, _ = encoder_of(2)
    for stamps in ((1000,), (1000, 1100), (1000, 1100), (1000, 1030, 1100, 1130)):
        found = encoder.encode(frames(*stamps))
        newest = stamps[-1] % 251
        assert found.data.images[0][0, 0, 0] == newest
        assert found.pixels.shape == (3, 1, 1)
        assert float(found.pixels[0, 0, 0]) == pytest.approx(newest / 255)
        assert found.context.newest.item() == newest
        assert found.context.newest_ns == stamps[-1] * MS
        assert found.goal is None


def test_each_goal_is_encoded_once():
    encoder, model = encoder_of(1)
    goals = [Goal(number, image(value), SensorData((image(value),)), None)
             for number, value in ((1, 7), (2, 9))]
    found = [encoder.encode(frames(1000), goal).goal for goal in (*goals[:1] * 3, goals[1])]
    assert [latent.tolist() for latent in found] == [[[7.0]]] * 3 + [[[9.0]]]
    assert model.encoded.count(7) == model.encoded.count(9) == 1


def test_a_goal_of_several_cameras_is_split():
    wide = np.concatenate([image(1), image(2)], axis=1)
    assert [shown[0, 0, 0] for shown in split_goal(wide, 2).images] == [1, 2]
    with pytest.raises(ValueError, match=r'2 pixels wide; .* 3 cameras'):
        split_goal(wide, 3)


def test_decoding_is_left_to_the_one_who_plans():
    """A frame may be a function; the newest is decoded only when it is asked for."""
    calls = []

    def decode():
        calls.append(1)
        return image(7)

    encoder, _ = encoder_of(2)
    frame = StampedObservation(decode, 1000 * MS)
    assert not calls
    found = encoder.encode((frame,))
    assert found.context.latents[0, :, 0].tolist() == [7, 7]
    assert len(calls) == 1


def test_what_the_decoder_raises_comes_through_and_passes():
    def corrupt():
        raise ValueError('corrupt')

    encoder, _ = encoder_of(1)
    with pytest.raises(ValueError, match='corrupt'):
        encoder.encode((StampedObservation(corrupt, 1000 * MS),))
    found = encoder.encode((StampedObservation(corrupt, 1000 * MS), *frames(1100)))
    assert found.context.newest.item() == 1100 % 251
    assert found.context.stamps_ns == (1100 * MS,)
