"""The machine and the versions behind a result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = {
    'torch': ('torch',),
    'numpy': ('numpy',),
    'rclpy': ('ros-rclpy', 'rclpy'),
    'grasp_ros': ('grasp_ros',),
}


def machine() -> str:
    """Processor, the number of its cores that may be used, and operating system."""
    model = platform.processor() or platform.machine()
    information = Path('/proc/cpuinfo')
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
                break
    usable = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{model}, {usable} cores, {platform.system()} {platform.release()}'


def versions() -> dict[str, str | None]:
    """Versions of Python, ROS and the packages that the figures depend on; None if unknown."""
    found: dict[str, str | None] = {
        'python': platform.python_version(),
        'ros_distro': os.environ.get('ROS_DISTRO'),
    }
    for name, distributions in PACKAGES.items():
        found[name] = next(filter(None, map(_version, distributions)), None)
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
