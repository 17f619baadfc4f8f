"""Run one node until a signal asks it to end; what every executable of this package does."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from grasp_ros.parameters.parameter import ParameterError

SPIN_S = 0.1
BAD_ARGUMENTS = 2


def spin(
    name: str,
    arguments: Sequence[str] | None,
    make_node: Callable[[threading.Event], Any],
    end: Callable[[Any], None] = lambda node: None,
) -> int:
    """Make a node and spin it on this thread until SIGINT or SIGTERM.

    rclpy's own signal handlers would invalidate the context before a stop could be published; the
    handlers here only set a flag, so that a signal that comes twice does no harm.

    Args:
        name: of the program, for errors.
        arguments: of the command line, without the program's name; None: those of the process.
        make_node: makes the node; its argument is set once a signal has come.
        end: called while the node can still publish.

    Returns:
        The exit status: 0, or 2 where arguments or parameters are wrong.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: ended.set())
    try:
        rclpy.init(
            args=None if arguments is None else list(arguments),
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except Exception as error:  # a broken parameter file, for one; rclpy has no public base class
        print(f'{name}: {error}', file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        node = make_node(ended)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            while not ended.is_set():
                executor.spin_once(timeout_sec=SPIN_S)
        finally:
            # Whatever a callback raised: the robot is stopped first.
            end(node)
            executor.shutdown(timeout_sec=SPIN_S)
            node.destroy_node()
    except ParameterError as error:
        print(f'{name}: {error}', file=sys.stderr)
        return BAD_ARGUMENTS
    finally:
        rclpy.try_shutdown()
        # A node that could not be made is in reference cycles, with services that others still see.
        gc.collect()
    return 0
