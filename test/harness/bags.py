"""Synthetic bags of a dot that moves as commanded, with known rates, lags and gaps."""

import numpy as np

from grasp_ros.bags.message_types import IMAGE, header, make_message
from grasp_ros.bags.writer import BagWriter
from grasp_ros.messages.images import encode_compressed, encode_raw
from harness.recorded import dot

TWIST = 'geometry_msgs/msg/Twist'
TWIST_STAMPED = 'geometry_msgs/msg/TwistStamped'
ARRAY = 'std_msgs/msg/Float64MultiArray'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
JOINT_STATE = 'sensor_msgs/msg/JointState'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
START_NS = 1_700_000_000_000_000_000


def to_ns(seconds):
    return START_NS + round(seconds * 1e9)


def image(seconds, rgb, compressed=False):
    fields = {'header': header(to_ns(seconds), 'camera')}
    if compressed:
        encoded = rgb if isinstance(rgb, bytes) else encode_compressed(rgb, 'png')
        data = np.frombuffer(encoded, np.uint8)
        return COMPRESSED, make_message(COMPRESSED, **fields, format='png', data=data)
    raw = encode_raw(rgb)
    return IMAGE, make_message(
        IMAGE, **fields, height=raw.height, width=raw.width, encoding=raw.encoding,
        is_bigendian=0, step=raw.step, data=np.frombuffer(raw.data, np.uint8),
    )  # fmt: skip


def vector(x=0.0, y=0.0):
    return make_message('geometry_msgs/msg/Vector3', x=float(x), y=float(y), z=0.0)


def command(kind, seconds, values):
    if kind == ARRAY:
        return make_message(ARRAY, data=list(map(float, values)))
    if kind == TRAJECTORY:
        point = make_message(
            'trajectory_msgs/msg/JointTrajectoryPoint', positions=list(map(float, values))
        )
        return make_message(
            TRAJECTORY, header=header(to_ns(seconds), ''), joint_names=['lift', 'wrist'],
            points=[point],
        )  # fmt: skip
    twist = make_message(TWIST, linear=vector(*values), angular=vector())
    if kind == TWIST:
        return twist
    return make_message(TWIST_STAMPED, header=header(to_ns(seconds), ''), twist=twist)


def joints(seconds, values):
    return make_message(
        JOINT_STATE, header=header(to_ns(seconds), ''), name=['lift', 'wrist'][: len(values)],
        position=list(map(float, values)),
    )  # fmt: skip


def write_bag(
    path, images, commands, kind=TWIST_STAMPED, delay=0.0, compressed=False, proprioception=(),
    **options,
):
    """Write a bag.

    Images are (seconds, rgb) or, recorded at another time than they are stamped with,
    (seconds, rgb, recorded); commands, proprioception (seconds, values); all are recorded `delay`
    after that. Compressed images may be given as bytes, too.
    """
    entries = []
    for seconds, rgb, *recorded in images:
        entries.append((*(recorded or [seconds]), '/image', *image(seconds, rgb, compressed)))
    for seconds, values in commands:
        entries.append((seconds, '/command', kind, command(kind, seconds, values)))
    for seconds, values in proprioception:
        entries.append((seconds, '/joint_states', JOINT_STATE, joints(seconds, values)))
    with BagWriter(path, **options) as bag:
        for seconds, topic, type_name, message in sorted(entries, key=lambda entry: entry[0]):
            bag.write(topic, type_name, to_ns(seconds + delay), message)
    return path


def drive(seconds, rate=10.0, command_rate=10.0, speed=0.4, size=32, seed=0):
    """Images and commands of a dot that drives at random, at most `speed` a second."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, seconds, 1 / command_rate)
    held = np.repeat(rng.uniform(-1, 1, (len(times) // 4 + 1, 2)), 4, axis=0)[: len(times)]
    frames = np.arange(0, seconds, 1 / rate)
    place, places = np.array([0.5, 0.5]), []
    clock, index = 0.0, 0
    for frame in frames:
        while index + 1 < len(times) and times[index + 1] <= frame + 1e-9:
            place = np.clip(place + speed * held[index] * (times[index + 1] - clock), 0.1, 0.9)
            clock, index = times[index + 1], index + 1
        place = np.clip(place + speed * held[index] * (frame - clock), 0.1, 0.9)
        clock = frame
        places.append(place)
    pictures = dot(np.array(places), size)
    return list(zip(frames, pictures, strict=True)), list(zip(times, held, strict=True))
