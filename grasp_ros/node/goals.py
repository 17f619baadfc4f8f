"""Goal images: checked when they come, decoded on the planning thread while the robot stands.

An image of many pixels takes longer to decode than a control period.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.control.controller import Controller
from grasp_ros.control.types import State
from grasp_ros.models.sensors import RgbImage
from grasp_ros.ros.ros_messages import image_decoder

HOLD = 'goal'


@dataclass(frozen=True, eq=False)
class _Pending:
    """A goal that is being decoded, and whom to tell what becomes of it."""

    content: tuple[Any, ...]
    tolerance: float | None
    done: Callable[[RgbImage], None]
    failed: Callable[[str], None]


class GoalIntake:
    """Takes goals for a controller; of those not decoded yet the newest one counts."""

    def __init__(
        self,
        controller: Controller,
        call: Callable[[Callable[[], RgbImage | None]], Future[RgbImage | None]],
        post: Callable[..., Any],
    ) -> None:
        """Begin without a goal.

        Args:
            controller: gets the goals.
            call: runs a job on the planning thread.
            post: calls a function, with arguments, on the thread that uses this object.
        """
        self._controller = controller
        self._call, self._post = call, post
        self._content: tuple[Any, ...] | None = None
        self._pending: _Pending | None = None

    def take(
        self,
        message: Image | CompressedImage,
        done: Callable[[RgbImage], None],
        failed: Callable[[str], None],
        *,
        tolerance: float | None = None,
        restart: bool = False,
    ) -> bool:
        """Stop the robot and decode a goal image, unless it is the present goal already.

        Args:
            message: the image.
            done: called with the image once the controller has it.
            failed: called with the reason where it cannot be decoded or another one comes before;
                the controller keeps the goal that it had.
            tolerance: goal distance that counts as reached; None for that of the policy.
            restart: begin anew with unchanged content, too.

        Returns:
            Whether it is a new goal.

        Raises:
            ImageError: if its header shows already that it cannot be decoded.
        """
        decode = image_decoder(message)
        content = _content(message)
        newest = self._content if self._pending is None else self._pending.content
        if content == newest and not restart:
            return False
        overtaken, self._pending = self._pending, None
        if overtaken is not None:
            overtaken.failed('another goal came before it was decoded')
        pending = self._pending = _Pending(content, tolerance, done, failed)
        self._controller.hold(HOLD, State.PLANNING, 'the new goal image is being decoded')
        # Of images that come faster than they can be decoded most need not be.
        decoding = self._call(lambda: decode() if self._pending is pending else None)
        decoding.add_done_callback(lambda decoded: self._post(self._decoded, pending, decoded))
        return True

    def clear(self) -> None:
        """Stop, and wait for the next goal."""
        self.forget()
        self._controller.clear_goal()

    def forget(self) -> None:
        """Know of no goal; nobody is told what becomes of one that is being decoded."""
        self._content = self._pending = None
        self._controller.hold(HOLD, None)

    def _decoded(self, pending: _Pending, decoding: Future[RgbImage | None]) -> None:
        if pending is not self._pending:
            return
        self._pending = None
        try:
            image = decoding.result()
            assert image is not None
            self._controller.set_goal(image, pending.tolerance, restart=True)
        except Exception as error:  # corrupt data, or not an image of so many cameras
            self._controller.hold(HOLD, None)
            pending.failed(str(error))
            return
        self._content = pending.content
        self._controller.hold(HOLD, None)
        pending.done(image)


def _content(message: Image | CompressedImage) -> tuple[Any, ...]:
    """Content that tells images apart; arrays of bytes are compared as fast as memory allows."""
    if isinstance(message, CompressedImage):
        return message.format, message.data
    return message.encoding, message.height, message.width, message.step, message.data
