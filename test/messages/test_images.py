"""Do pictures come out as they went in, and is everything else refused with its name?"""

import io
import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from grasp_ros.messages import images
from grasp_ros.messages.images import ImageError, RawImage

ORDER = {'rgb8': [0, 1, 2], 'bgr8': [2, 1, 0], 'rgba8': [0, 1, 2], 'bgra8': [2, 1, 0]}

pictures = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: arrays(np.uint8, (*size, 3))
)
unhurried = settings(deadline=None)  # the machine may be busy
encodings = st.sampled_from(list(images.CHANNELS))


def smooth(height=48, width=64):
    """Return a picture whose channels differ and which JPEG keeps well."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 120, height))
    return np.stack([x, y, 255 - x / 2 - y / 2], axis=-1).astype(np.uint8)


def png_chunk(kind, content=b''):
    body = kind + content
    return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))


def png_without_pixels(width, height):
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + png_chunk(b'IEND')


def with_padding(raw, padding):
    rows = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.step)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return RawImage(rows.tobytes(), raw.height, raw.width, raw.step + padding, raw.encoding)


@unhurried
@given(rgb=pictures, encoding=encodings, padding=st.integers(0, 9))
def test_raw_round_trip_with_any_step(rgb, encoding, padding):
    decoded = images.decode_raw(with_padding(images.encode_raw(rgb, encoding), padding))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    expected = rgb
    if encoding == 'mono8':
        luma = np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
        expected = np.repeat(luma[..., None], 3, axis=-1)
    np.testing.assert_allclose(decoded, expected, atol=encoding == 'mono8')


@pytest.mark.parametrize('encoding', ORDER)
def test_channel_order_is_what_the_name_says(encoding):
    raw = images.encode_raw(np.array([[[10, 20, 30]]], np.uint8), encoding)
    first = list(raw.data[:3])
    assert [first[channel] for channel in ORDER[encoding]] == [10, 20, 30]
    assert list(raw.data[3:]) == [255] * (images.CHANNELS[encoding] - 3)


def test_decoded_picture_owns_its_memory():
    data = array('B', bytes(12))
    decoded = images.decode_raw(RawImage(data, 2, 2, 6, 'rgb8'))
    data[0] = 9
    assert decoded.max() == 0


@pytest.mark.parametrize(
    ('image', 'fault'),
    [
        (RawImage(b'', 0, 4, 12, 'rgb8'), 'empty: 4 x 0'),
        (RawImage(b'', 4, 0, 0, 'rgb8'), 'empty: 0 x 4'),
        (RawImage(bytes(48), 4, 4, 12, '16UC1'), "'16UC1' is not supported.*rgb8, bgr8, rgba8"),
        (RawImage(bytes(48), 4, 4, 12, ''), "'' is not supported"),
        (RawImage(bytes(44), 4, 4, 11, 'bgr8'), 'step is 11 bytes.*4 pixels in bgr8 has 12'),
        (RawImage(bytes(47), 4, 4, 12, 'rgb8'), '47 bytes.*have 48'),
        (RawImage(bytes(49), 4, 4, 12, 'rgb8'), '49 bytes.*have 48'),
        (RawImage(bytes(9), 2**20, 60, 2**32 - 1, 'rgb8'), 'data has 9 bytes'),
        (RawImage(bytes(9), 2**32 - 1, 2**30, 2**32 - 1, 'rgb8'), 'pixels; the limit is 64000000'),
        (RawImage(b'', 1, 1, 3, 'x\n' * 10**6), r"^encoding '(x\\n){30}'\.\.\. is not supported"),
    ],
)
def test_bad_raw_picture_is_refused(image, fault):
    with pytest.raises(ImageError, match=fault):
        images.decode_raw(image)


@unhurried
@given(
    data=st.binary(max_size=80),
    size=st.tuples(st.integers(-1, 5), st.integers(-1, 5), st.integers(-1, 20)),
    encoding=encodings | st.text(max_size=5),
)
def test_raw_bytes_raise_nothing_but_image_error(data, size, encoding):
    image = RawImage(data, *size, encoding)
    try:
        assert images.decode_raw(image).shape == (image.height, image.width, 3)
    except ImageError as error:
        assert str(error)


@unhurried
@given(rgb=pictures)
def test_png_is_lossless(rgb):
    np.testing.assert_array_equal(
        images.decode_compressed(images.encode_compressed(rgb, 'png'), 'png'), rgb
    )


def test_jpeg_keeps_colours():
    rgb = smooth()
    decoded = images.decode_compressed(array('B', images.encode_compressed(rgb)), 'jpeg')
    assert np.abs(decoded.astype(int) - rgb).mean() < 2


@pytest.mark.parametrize('quality', [80, 101])  # VP8, and VP8L without loss
@pytest.mark.parametrize('metadata', [b'', b'Exif\0\0MM\0*\0\0\0\x08\0\0'])  # with it VP8X
def test_size_of_every_webp_is_read(quality, metadata, monkeypatch):
    data = io.BytesIO()
    Image.fromarray(smooth()).save(
        data, 'WEBP', quality=min(quality, 100), lossless=quality > 100, exif=metadata
    )
    assert images.decode_compressed(data.getvalue()).shape == (48, 64, 3)
    monkeypatch.setattr(images, 'MAX_PIXELS', 48 * 64 - 1)
    with pytest.raises(ImageError, match='has 64 x 48 pixels'):
        images.check_compressed(data.getvalue())


@pytest.mark.parametrize('extension', ['.bmp', '.ppm', '.webp', '.tiff'])
def test_less_common_formats_are_decoded(extension):
    _, data = cv2.imencode(extension, smooth())
    assert images.decode_compressed(data.tobytes()).shape == (48, 64, 3)


def with_size_of_bmp(width, height):
    data = bytearray(cv2.imencode('.bmp', smooth())[1].tobytes())
    struct.pack_into('<ii', data, 18, width, height)
    return bytes(data)


def with_size_of_webp(width, height):
    data = bytearray(cv2.imencode('.webp', smooth())[1].tobytes())
    stream = data.index(b'VP8L') + 9  # sizes of 14 bits each follow its signature, RFC 9649
    struct.pack_into('<I', data, stream, (width - 1) | (height - 1) << 14)
    return bytes(data)


@pytest.mark.parametrize(
    'data',
    [b'P6 9000 9000 255\n', with_size_of_bmp(9000, 9000), with_size_of_webp(9000, 9000)],
    ids=['ppm', 'bmp', 'webp'],
)
def test_huge_picture_of_a_less_common_format_is_refused_by_its_header(data):
    with pytest.raises(ImageError, match='9000 x 9000 pixels; the limit is 64000000'):
        images.check_compressed(data)


def test_formats_that_nobody_needs_are_refused():
    data = io.BytesIO()
    Image.fromarray(smooth()).save(data, 'GIF')
    with pytest.raises(ImageError, match='no image in JPEG, PNG, WebP, BMP, PPM, TIFF'):
        images.check_compressed(data.getvalue(), 'gif')


@pytest.mark.parametrize(
    'pixels',
    [
        np.full((4, 5), 99, np.uint8),
        np.full((4, 5), 99 << 8, np.uint16),
        np.full((4, 5, 4), 99, np.uint8),
    ],
    ids=['grey', '16 bits', 'alpha'],
)
def test_other_pngs_become_rgb8(pixels):
    _, data = cv2.imencode('.png', pixels)
    decoded = images.decode_compressed(data.tobytes())
    assert decoded.shape == (4, 5, 3) and decoded.dtype == np.uint8
    assert (decoded == 99).all()


@pytest.mark.parametrize('kept', [1, 2, 10, 20, 'half', -10, -1])
@pytest.mark.parametrize('format', ['jpeg', 'png'])
def test_truncated_picture_is_refused(format, kept):
    data = images.encode_compressed(smooth(), format)
    with pytest.raises(ImageError):
        images.decode_compressed(data[: len(data) // 2 if kept == 'half' else kept], format)


def test_truncated_jpeg_is_seen_without_decoding():
    data = images.encode_compressed(smooth(), 'jpeg')
    with pytest.raises(ImageError, match='truncated: it has no end marker'):
        images.check_compressed(data[: len(data) // 2 + 300], 'jpeg')


def test_png_chunk_that_claims_more_bytes_than_there_are_is_seen_without_decoding():
    # OpenCV allocates what a chunk claims to have: 2 GB for a picture of a kilobyte.
    data = bytearray(images.encode_compressed(smooth(), 'png'))
    struct.pack_into('>I', data, data.index(b'IDAT') - 4, 2**31 - 1)
    with pytest.raises(ImageError, match='truncated or corrupt: a chunk is incomplete'):
        images.check_compressed(data, 'png')


def test_padding_after_a_jpeg_is_harmless():
    data = images.encode_compressed(smooth(), 'jpeg') + bytes(100)
    assert images.decode_compressed(data, 'jpeg').shape == (48, 64, 3)


@pytest.mark.parametrize(
    ('data', 'format', 'fault'),
    [
        (b'', 'jpeg', "'jpeg'.* is empty"),
        (b'no picture at all', 'jpeg', "17 bytes .*'jpeg'.* corrupt or no image"),
        (png_without_pixels(0, 9), 'png', '0 x 9 pixels'),
        (png_without_pixels(60_000, 60_000), 'png', '60000 x 60000 pixels; the limit is 64000000'),
        (b'x', '16UC1; compressedDepth png', 'depth image'),
    ],
)
def test_bad_compressed_picture_is_refused(data, format, fault):
    with pytest.raises(ImageError, match=fault):
        images.decode_compressed(data, format)


def test_huge_jpeg_is_refused_by_its_header():
    data = bytearray(images.encode_compressed(smooth(), 'jpeg'))
    frame = data.index(b'\xff\xc0')
    struct.pack_into('>HH', data, frame + 5, 60_000, 60_000)
    with pytest.raises(ImageError, match='60000 x 60000 pixels; the limit'):
        images.check_compressed(data, 'jpeg')


JPEG = images.encode_compressed(smooth(8, 8), 'jpeg')
PNG = images.encode_compressed(smooth(8, 8), 'png')


@unhurried
@given(
    data=st.sampled_from([b'', b'\xff\xd8\xff', b'\xff\xd8' + b'\xff' * 9, PNG[:16]]).flatmap(
        lambda start: st.binary(max_size=64).map(lambda rest: start + rest)
    ),
)
@example(data=b'\xff\xd8\xff\xc0\x00\x00\x08')
def test_random_bytes_raise_nothing_but_image_error(data):
    with pytest.raises(ImageError):
        images.decode_compressed(data)


@unhurried
@given(start=st.sampled_from([JPEG, PNG]), place=st.floats(0, 1), value=st.integers(0, 255))
def test_damaged_picture_raises_nothing_but_image_error(start, place, value):
    data = bytearray(start)
    data[int(place * (len(data) - 1))] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, 'MAX_PIXELS', 10_000)  # or a damaged size makes the test slow
        try:
            assert images.decode_compressed(data).dtype == np.uint8
        except ImageError as error:
            assert str(error)


@unhurried
@given(
    rgb=pictures,
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    fit=st.sampled_from(['stretch', 'crop']),
)
def test_model_input_has_the_asked_size_and_range(rgb, height, width, fit):
    model_input = images.to_model_input(rgb, height, width, fit)
    assert model_input.shape == (3, height, width) and model_input.dtype == np.float32
    assert model_input.flags.c_contiguous
    levels = model_input * 255
    # Resampling averages: it leaves the range of values of no channel.
    assert (levels.min(axis=(1, 2)) >= rgb.min(axis=(0, 1)) - 1e-3).all()
    assert (levels.max(axis=(1, 2)) <= rgb.max(axis=(0, 1)) + 1e-3).all()


@unhurried
@given(rgb=pictures, fit=st.sampled_from(['stretch', 'crop']))
def test_same_size_is_not_resampled(rgb, fit):
    model_input = images.to_model_input(rgb, *rgb.shape[:2], fit)
    np.testing.assert_array_equal(images.from_model_output(model_input), rgb)
    np.testing.assert_array_equal(
        model_input, rgb.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )


def test_shrinking_averages_over_areas():
    checkerboard = (np.indices((8, 8)).sum(axis=0) % 2 * 200).astype(np.uint8)
    rgb = np.repeat(checkerboard[..., None], 3, axis=-1)
    np.testing.assert_allclose(images.to_model_input(rgb, 4, 4) * 255, 100, atol=1)
    # No aliasing either where one axis shrinks and the other grows.
    stripes = np.repeat(rgb[:1, :, :], 8, axis=0)
    np.testing.assert_allclose(images.to_model_input(stripes, 16, 4) * 255, 100, atol=1)


def test_enlarging_interpolates():
    rgb = np.array([[[0] * 3, [200] * 3]], np.uint8)
    row = images.to_model_input(rgb, 1, 8)[0, 0]
    assert (np.diff(row) >= 0).all() and len(set(row.tolist())) > 3


@pytest.mark.parametrize(
    ('shape', 'kept'), [((8, 16), np.s_[:, 4:12]), ((16, 8), np.s_[4:12]), ((8, 8), np.s_[:])]
)
def test_crop_keeps_the_centre(shape, kept):
    rgb = smooth(*shape)
    cropped = images.from_model_output(images.to_model_input(rgb, 8, 8, 'crop'))
    np.testing.assert_array_equal(cropped, rgb[kept])


def test_crop_of_an_extreme_shape_keeps_a_pixel():
    assert images.to_model_input(smooth(1, 1000), 64, 64, 'crop').shape == (3, 64, 64)
    assert images.to_model_input(smooth(2, 2), 1, 1000, 'crop').shape == (3, 1, 1000)


def test_model_output_is_clipped():
    image = np.array([-1.0, 0.5, 2.0, np.nan, np.inf, 1.0])[None, None].repeat(3, axis=0)
    shown = images.from_model_output(image)
    assert shown.shape == (1, 6, 3) and shown.dtype == np.uint8
    assert shown[0, :, 0].tolist() == [0, 128, 255, 0, 255, 255]


@pytest.mark.parametrize('bad', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_arrays_that_are_no_rgb_picture_are_refused(bad):
    for use in (images.encode_raw, images.encode_compressed, images.from_model_output):
        with pytest.raises(ImageError):
            use(bad)
    with pytest.raises(ImageError, match='uint8'):
        images.to_model_input(bad, 4, 4)


def test_bad_arguments_are_named():
    rgb = smooth()
    with pytest.raises(ValueError, match="fit is 'fill'"):
        images.to_model_input(rgb, 4, 4, 'fill')
    with pytest.raises(ValueError, match='4 x 0 pixels'):
        images.to_model_input(rgb, 0, 4)
    with pytest.raises(ImageError, match="'yuv422'"):
        images.encode_raw(rgb, 'yuv422')
    with pytest.raises(ImageError, match="'gif'"):
        images.encode_compressed(rgb, 'gif')
    with pytest.raises(ImageError, match='70000 x 1 pixels as jpeg'):
        images.encode_compressed(np.zeros((1, 70_000, 3), np.uint8), 'jpeg')
