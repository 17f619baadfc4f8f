"""A planner's process in tests: its bench, its camera, and what nearly every test does with it."""

import contextlib
import time

import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from grasp_ros.ros.ros_messages import stamp_ns
from grasp_ros.tools.demo.bench import BenchError, PlannerBench, speed
from harness.camera import PERIOD_S, Camera
from harness.ros_graph import process, ros

NODE = 'grasp_ros.node.planner'
UNGUARDED = {'frozen_timeout': 0.0, 'max_novelty': 0.0}
"""Most tests show one image for ever, some in grey; those of the guards set their own."""
BUSY = {'image_timeout': 3.0, 'max_plan_age': 5.0}
"""So that a busy machine does not stop the robot where a test is about something else."""
LARGE_IMAGES = ('-p', 'qos_overrides./image.subscription.reliability:=reliable')
"""Of images that are not sent again, large ones may all get lost on a busy machine."""


class Bench(PlannerBench):
    """Drives one planner process through its life; what does not happen fails the test."""

    def __init__(self, graph, child, namespace=''):
        super().__init__(graph.node('bench', namespace=namespace), graph.executor)
        self.graph, self.child = graph, child
        self._shown = ''
        self.watch_plans()
        self.listen()
        self.camera = Camera(self.node)

    def film(self, message_type):
        """Send images of another type from now on."""
        self.camera.destroy()
        self.camera = Camera(self.node, message_type)

    def wait(self, predicate, timeout_s, what):
        """Fail with the planner's output."""
        try:
            super().wait(predicate, timeout_s, what)
        except BenchError as error:
            raise AssertionError(f'{error}\n{self.child.output}') from error

    def until(self, predicate, timeout_s=20.0):
        """Spin until something is true, or fail with the planner's output."""
        self.wait(predicate, timeout_s, 'it did not happen')

    def request_configure(self):
        """Begin to configure; return the future."""
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        return self.clients[ChangeState].call_async(request)

    def shut_down(self):
        return self.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)

    def prepare(self, values):
        """Unconfigured, with these parameters and the original value of all others."""
        self.camera.make = None
        assert self.unconfigure()
        assert self.life == 'unconfigured'
        assert self.set_only({**UNGUARDED, **values}) == []

    def restart(self, values=None):
        """Configured and active anew, with these parameters; all that was seen is forgotten."""
        self.prepare(values or {})
        assert self.configure(), self.child.output
        self.refresh()

    def refresh(self):
        """Active as for the first time: no image, no goal; all that was seen is forgotten."""
        self.camera.make = None
        self.camera.now_ns = time.time_ns
        if self.life == 'active':
            assert self.deactivate()
        self.spin_for(2 * PERIOD_S)
        self.clear()
        self.camera.sent.clear()
        assert self.activate(), self.child.output
        self.until(lambda: self.camera.matched)

    def run(self):
        """Show start and goal, wait until commands of a plan and its status have come."""
        self.camera.show()
        self.camera.goal()
        self.until_running()
        self.until_planned()

    def until_planned(self):
        """Wait for a status that reports on a plan: it may come a tick after the first command."""
        self.until(lambda: self.statuses and self.status.plans)

    def until_running(self):
        """Wait for commands that move the robot."""
        seen = len(self.commands)
        self.until(lambda: any(speed(arrival.message) for arrival in self.commands[seen:]))

    def until_state(self, state):
        """Wait for a status with this state from now on; return it."""
        since_s = time.monotonic()
        self.until(lambda: self.status_since(since_s, state))
        return self.status_since(since_s, state).message

    @property
    def status(self):
        """The newest status; the first one may come after the first command."""
        if not self.statuses:
            assert self.spin_until(lambda: self.statuses, 20.0), self.child.output
        return self.statuses[-1].message

    def new_output(self):
        """Return what the planner wrote since the last call."""
        output = self.child.output
        new = output[len(self._shown):]
        self._shown = output
        return new


@contextlib.contextmanager
def planner(*arguments, namespace=''):
    """A planner in a process, unconfigured, in a namespace of its own if others run."""
    # Most cameras here show one image for ever: nobody gives up unless a test asks for it.
    options = ['--ros-args', '-p', 'goal.give_up_time:=0.0']
    if namespace:
        options += ['-r', f'__ns:={namespace}']
    with ros() as graph, process(NODE, *options, *arguments) as child:
        bench = Bench(graph, child, namespace)
        bench.meet()
        yield bench


def velocity(message):
    """Velocity (2,) that a TwistStamped commands; nothing else may be commanded."""
    twist = message.twist
    rest = (twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z)
    assert rest == (0.0, 0.0, 0.0, 0.0)
    return np.array([twist.linear.x, twist.linear.y])


def command_stamp(message):
    return stamp_ns(message.header.stamp)
