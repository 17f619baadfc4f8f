"""Quality of service of every topic.

A new profile each time: rclpy writes QoS overrides into the profile it is given.
"""

from __future__ import annotations

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

DURABILITIES = {
    'volatile': QoSDurabilityPolicy.VOLATILE,
    'transient_local': QoSDurabilityPolicy.TRANSIENT_LOCAL,
}


def image_qos() -> QoSProfile:
    """Camera images: the newest only, from reliable and best-effort cameras alike."""
    return _profile(depth=1, reliable=False)


def proprioception_qos() -> QoSProfile:
    """Proprioception: recent ones, for the nearest to a image is looked for."""
    return _profile(depth=10, reliable=False)


def goal_image_qos(durability: str = 'volatile') -> QoSProfile:
    """Goal images: none may be lost.

    Args:
        durability: 'volatile', or 'transient_local' for goals that were published before; a
            transient-local subscription receives nothing from a volatile publisher.

    Raises:
        ValueError: if the durability is another.
    """
    if durability not in DURABILITIES:
        raise ValueError(f'durability is {durability!r}; it must be one of {list(DURABILITIES)}')
    profile = _profile(depth=1, reliable=True)
    profile.durability = DURABILITIES[durability]
    return profile


def command_qos() -> QoSProfile:
    """Commands: reliable, for the stop must arrive; only the newest counts."""
    return _profile(depth=1, reliable=True)


def status_qos() -> QoSProfile:
    """Status: one for each control tick."""
    return _profile(depth=10, reliable=True)


def plan_qos() -> QoSProfile:
    """Plans: only the newest counts."""
    return _profile(depth=1, reliable=True)


def diagnostics_qos() -> QoSProfile:
    """/diagnostics, as aggregators and monitors expect it."""
    return _profile(depth=10, reliable=True)


def imagined_qos() -> QoSProfile:
    """The film strip of what the model imagines: for people to look at."""
    return _profile(depth=1, reliable=False)


def overridable() -> QoSOverridingOptions:
    """Let parameters override the QoS of a publisher or subscription.

    Their names are `qos_overrides.<topic>.<publisher|subscription>.<policy>`, the topic fully
    resolved, the policy one of history, depth, reliability, durability.
    """
    return QoSOverridingOptions(
        (
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )


def _profile(depth: int, reliable: bool) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.VOLATILE,
    )
