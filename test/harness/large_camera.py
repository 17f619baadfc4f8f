"""The node `large_camera`: what a small camera shows, in large pictures and many of them.

It stands in for cameras of many pixels where the planner's time is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cv2
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image

from grasp_ros.parameters.parameter import ParameterGroup, parameter
from grasp_ros.ros.parameter_declaration import declare_table
from grasp_ros.ros.qos import image_qos
from grasp_ros.ros.ros_messages import image_decoder, image_message
from grasp_ros.ros.spin import spin


class LargeCameraParameters(ParameterGroup):
    """Parameters of the node `large_camera`."""

    rate: float = parameter(30.0, 'images per second', 0.1, 1000.0, unit='Hz')
    width: int = parameter(1280, 'pixels in a row', 1, 8000)
    height: int = parameter(720, 'rows', 1, 8000)


class LargeCameraNode(Node):
    """Publishes the newest picture of `image` on `large_image`, each time stamped with now."""

    def __init__(self) -> None:
        """Wait for pictures.

        Raises:
            ParameterError: if an override is unknown, of the wrong type or out of range.
        """
        super().__init__('large_camera')
        params = declare_table(self, LargeCameraParameters)
        self._newest: Image | None = None
        shape = params.height, params.width, 3
        stamp = self.get_clock().now().to_msg()
        self._large = image_message(np.zeros(shape, np.uint8), stamp, 'camera')
        self._pixels = np.frombuffer(self._large.data, np.uint8).reshape(shape)
        self._publisher = self.create_publisher(Image, 'large_image', image_qos())
        self.create_subscription(Image, 'image', self._keep, image_qos())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / params.rate, self._publish, clock=steady)

    def _keep(self, message: Image) -> None:
        self._newest = message

    def _publish(self) -> None:
        if self._newest is None:
            return
        height, width = self._pixels.shape[:2]
        picture = image_decoder(self._newest)()
        cv2.resize(picture, (width, height), dst=self._pixels, interpolation=cv2.INTER_NEAREST)
        self._large.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(self._large)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status is 2 where a parameter is wrong."""
    return spin('large_camera', arguments, lambda _ended: LargeCameraNode())


if __name__ == '__main__':
    sys.exit(main())
