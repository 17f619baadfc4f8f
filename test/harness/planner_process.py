"""What surrounds a planner in tests: its camera, its robot, and somebody who judges both."""

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from grasp_ros.msg import ActionPlan, PlanStatus
from grasp_ros.ros.qos import command_qos, goal_image_qos, plan_qos, status_qos
from grasp_ros.ros.ros_messages import image_message, stamp_ns, time_message
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import TwoRooms
from harness.ros_graph import process, ros

NODE = 'grasp_ros.node.planner'
UNGUARDED = {'frozen_timeout': 0.0, 'max_novelty': 0.0}
"""Most tests show one picture for ever, some in grey; those of the guards set their own."""
BUSY = {'image_timeout': 3.0, 'max_plan_age': 5.0}
"""So that a busy machine does not stop the robot where a test is about something else."""
LARGE_IMAGES = ('-p', 'qos_overrides./image.subscription.reliability:=reliable')
"""Of pictures that are not sent again, large ones may all get lost on a busy machine."""
PERIOD_S = 0.1
WORLD = TwoRooms()
EPISODE = make_episode(WORLD, 1)


def render(position):
    """The camera's picture of a robot at `position` (2,) in metres."""
    return WORLD.render(np.asarray(position)[None])[0]


START = render(EPISODE.start)
GOAL = render(EPISODE.goal)


@dataclass(frozen=True)
class Arrival:
    """A message and when it came, on the monotonic clock."""

    time_s: float
    message: Any


class Camera:
    """Shows one picture again and again; silent while `make` is None."""

    def __init__(self, node, message_type=Image):
        self._node = node
        self.period_s = PERIOD_S
        self.make = None
        self.now_ns = time.time_ns
        self.sent = []
        # Reliable, for planners that ask for it; the usual ones take it as it comes.
        self.publisher = node.create_publisher(message_type, 'image', 1)
        self._goal = node.create_publisher(message_type, 'goal_image', goal_image_qos())
        self._timer = node.create_timer(PERIOD_S, self.publish)

    def show(self, picture=START, encode=image_message):
        """Publish at 10 Hz what `encode(picture, stamp, frame_id)` makes."""
        self.make = lambda stamp: encode(picture, stamp, 'camera')

    def publish(self):
        if self.make is None:
            return
        stamp = self.now_ns()
        self.sent.append((time.monotonic(), stamp))
        self.publisher.publish(self.make(time_message(stamp)))

    def goal(self, picture=GOAL, encode=image_message):
        """Publish a goal picture once."""
        self._goal.publish(encode(picture, time_message(self.now_ns()), 'camera'))

    @property
    def matched(self):
        return self.publisher.get_subscription_count() and self._goal.get_subscription_count()

    def destroy(self):
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self.publisher)
        self._node.destroy_publisher(self._goal)


class Bench:
    """Drives one planner process through its life, and keeps all that it publishes."""

    def __init__(self, graph, child, namespace=''):
        self.graph, self.child = graph, child
        self.node = node = graph.node('bench', namespace=namespace)
        self._services = {
            kind: node.create_client(kind, f'planner/{name}')
            for kind, name in (
                (ChangeState, 'change_state'),
                (GetState, 'get_state'),
                (GetParameters, 'get_parameters'),
                (SetParameters, 'set_parameters'),
                (SetBool, 'enable'),
            )
        }
        self.statuses, self.plans, self.commands = [], [], []
        node.create_subscription(PlanStatus, 'planner/status', self._keep(self.statuses),
                                 status_qos())
        node.create_subscription(ActionPlan, 'planner/plan', self._keep(self.plans), plan_qos())
        self._command = None
        self.listen(TwistStamped)
        self.camera = Camera(node)
        self._original = {}

    def _keep(self, kept):
        return lambda message: kept.append(Arrival(time.monotonic(), message))

    def listen(self, message_type):
        """Take commands of another type from now on."""
        if self._command is not None:
            self.node.destroy_subscription(self._command)
        self._command = self.node.create_subscription(
            message_type, 'command', self._keep(self.commands), command_qos()
        )

    def film(self, message_type):
        """Send pictures of another type from now on."""
        self.camera.destroy()
        self.camera = Camera(self.node, message_type)

    def until(self, predicate, timeout_s=20.0):
        """Spin until something is true, or fail with the planner's output."""
        assert self.graph.spin_until(predicate, timeout_s), self.child.output

    def call(self, kind, request, timeout_s=30.0):
        client = self._services[kind]
        self.until(client.service_is_ready, timeout_s)
        future = client.call_async(request)
        self.until(future.done, timeout_s)
        return future.result()

    def enable(self, enabled):
        """Call `~/enable`; it is there while the node is configured."""
        return self.call(SetBool, SetBool.Request(data=enabled))

    def meet(self):
        """Wait until the planner answers: a first answer may be lost in mutual discovery."""
        for _ in range(20):
            self.until(self._services[GetState].service_is_ready, 60.0)
            future = self._services[GetState].call_async(GetState.Request())
            if self.graph.spin_until(future.done, 3.0):
                return
        raise AssertionError(f'the planner does not answer:\n{self.child.output}')

    @property
    def life(self):
        """The lifecycle state's label."""
        return self.call(GetState, GetState.Request()).current_state.label

    def change(self, transition):
        """Ask for a lifecycle transition; return whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, request).success

    def configure(self):
        return self.change(Transition.TRANSITION_CONFIGURE)

    def request_configure(self):
        """Begin to configure; return the future."""
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        return self._services[ChangeState].call_async(request)

    def shut_down(self):
        return self.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)

    def activate(self):
        return self.change(Transition.TRANSITION_ACTIVATE)

    def deactivate(self):
        return self.change(Transition.TRANSITION_DEACTIVATE)

    def cleanup(self):
        return self.change(Transition.TRANSITION_CLEANUP)

    def set(self, values):
        """Set parameters by name; return the results."""
        messages = [
            ParameterMessage(name=name, value=value)
            if isinstance(value, ParameterValue)
            else Parameter(name, value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        return self.call(SetParameters, SetParameters.Request(parameters=messages)).results

    def unconfigure(self):
        """From whatever state, to unconfigured."""
        self.camera.make = None
        if self.life == 'active':
            assert self.deactivate()
        if self.life == 'inactive':
            assert self.cleanup()
        assert self.life == 'unconfigured'

    def prepare(self, values):
        """Unconfigured, with these parameters and the original value of all others."""
        self.unconfigure()
        values = {**UNGUARDED, **values}
        new = [name for name in values if name not in self._original]
        if new:
            request = GetParameters.Request(names=new)
            for name, value in zip(new, self.call(GetParameters, request).values, strict=True):
                self._original[name] = value
        for result in self.set({**self._original, **values}):
            assert result.successful, result.reason

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
        self.graph.spin_for(2 * PERIOD_S)
        for seen in (self.statuses, self.plans, self.commands, self.camera.sent):
            seen.clear()
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
        seen = len(self.statuses)
        self.until(lambda: any(a.message.state == state for a in self.statuses[seen:]))
        return next(a.message for a in self.statuses[seen:] if a.message.state == state)

    @property
    def status(self):
        """The newest status; the first one may come after the first command."""
        if not self.statuses:
            self.until(lambda: self.statuses)
        return self.statuses[-1].message

    def new_output(self):
        """What the planner wrote since the last call."""
        output = self.child.output
        new = output[len(self._shown):]
        self._shown = output
        return new

    _shown = ''


@contextlib.contextmanager
def planner(*arguments, namespace=''):
    """A planner in a process, unconfigured, in a namespace of its own if others run."""
    # Most cameras here show one picture for ever: nobody gives up unless a test asks for it.
    options = ['--ros-args', '-p', 'goal.give_up_time:=0.0']
    if namespace:
        options += ['-r', f'__ns:={namespace}']
    with ros() as graph, process(NODE, *options, *arguments) as child:
        bench = Bench(graph, child, namespace)
        bench.meet()
        yield bench


def speed(message):
    """Speed that a TwistStamped commands, m/s."""
    return float(np.hypot(message.twist.linear.x, message.twist.linear.y))


def velocity(message):
    """Velocity (2,) that a TwistStamped commands; nothing else may be commanded."""
    twist = message.twist
    rest = (twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z)
    assert rest == (0.0, 0.0, 0.0, 0.0)
    return np.array([twist.linear.x, twist.linear.y])


def command_stamp(message):
    return stamp_ns(message.header.stamp)
