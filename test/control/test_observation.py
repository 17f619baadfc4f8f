"""Frames one model step apart, each encoded once."""

import numpy as np
import pytest
import torch

from grasp_ros.control.observation import HistoryEncoder, StampedObservation

MS = 1_000_000
STEP = 100 * MS


def frames(*stamps_ms):
    """Pictures that tell their stamp."""
    return tuple(
        StampedObservation(np.full((1, 1, 3), ms % 251, np.uint8), ms * MS) for ms in stamps_ms
    )


class Encoder:
    """Encodes a picture as its value; counts."""

    def __init__(self):
        self.encoded = []

    def __call__(self, view, stamp_ns):
        (picture,) = view.pictures
        self.encoded.append(int(picture[0, 0, 0]))
        return torch.tensor([float(picture[0, 0, 0])])


def chosen(history, *stamps_ms):
    encoder = Encoder()
    context = HistoryEncoder(encoder, history, STEP)
    latents, stamps = context.context(frames(*stamps_ms))
    assert latents.shape == (1, history, 1)
    assert latents[0, :, 0].tolist() == [stamp // MS % 251 for stamp in stamps]
    return [stamp // MS for stamp in stamps]


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
    encoder = Encoder()
    context = HistoryEncoder(encoder, 3, STEP)
    stamps = list(range(1000, 4000, 50))
    for count in range(1, len(stamps) + 1):
        context.context(frames(*stamps[max(0, count - 20) : count]))
        assert len(context._latents) <= 8
    assert len(encoder.encoded) == len(stamps)


def test_forgotten_frames_are_encoded_again():
    encoder = Encoder()
    context = HistoryEncoder(encoder, 1, STEP)
    context.context(frames(1000))
    context.context(frames(1000))
    assert len(encoder.encoded) == 1
    context.clear()
    context.context(frames(1000))
    assert len(encoder.encoded) == 2


def test_decoding_is_left_to_the_one_who_plans():
    """A frame may be a function; the newest is decoded only when it is asked for."""
    calls = []

    def decode():
        calls.append(1)
        return np.full((1, 1, 3), 7, np.uint8)

    context = HistoryEncoder(Encoder(), 2, STEP)
    frame = StampedObservation(decode, 1000 * MS)
    assert not calls
    latents, _ = context.context((frame,))
    assert latents[0, :, 0].tolist() == [7, 7]
    assert len(calls) == 1
    assert context.view.pictures[0][0, 0, 0] == 7


def test_what_the_decoder_raises_comes_through_and_passes():
    def corrupt():
        raise ValueError('corrupt')

    context = HistoryEncoder(Encoder(), 1, STEP)
    with pytest.raises(ValueError, match='corrupt'):
        context.context((StampedObservation(corrupt, 1000 * MS),))
    latents, stamps = context.context((StampedObservation(corrupt, 1000 * MS), *frames(1100)))
    assert latents.item() == 1100 % 251
    assert stamps == (1100 * MS,)
