"""The planner's parameters: one table makes declaration, validation and documentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import cast

from grasp_ros.messages.commands import COMMAND_TYPES, TWIST_STAMPED
from grasp_ros.messages.proprioception import JOINT_STATE, PROPRIOCEPTION_TYPES
from grasp_ros.parameters.parameter import Parameter, Value
from grasp_ros.planning.options import option_text
from grasp_ros.planning.registry import PLANNERS


def planner_parameters(name: str) -> tuple[Parameter, ...]:
    """The options of the planner `name`, as `<name>.<option>`."""
    return tuple(
        Parameter(
            f'{name}.{option.name}',
            cast(Value, option.default),
            text.description,
            text.low,
            text.high,
            text.choices,
        )
        for option in fields(PLANNERS[name].config)
        for text in [option_text(option.metadata)]
    )


PARAMETERS: tuple[Parameter, ...] = (
    Parameter('model', 'two_room', 'folder of a model, or the name of one that comes along'),
    Parameter('device', 'auto', 'auto, cpu, cuda or cuda:N; auto takes a GPU where there is one'),
    Parameter('torch_threads', 1, 'CPU threads of PyTorch', 1, 256),
    Parameter('seed', 0, 'of all randomness in planning', 0, 2**31 - 1),
    Parameter(
        'control_rate', 10.0, 'commands per second, Hz; must be what the model was trained for',
        0.1, 1000,
    ),
    Parameter('image_timeout', 0.5, 'age at which an image is stale and the robot stops, s',
              0.01, 60, live=True),
    Parameter('max_plan_age', 1.0, 'age of the image behind a plan at which it expires, s',
              0.01, 60, live=True),
    Parameter('planning_delay', 0.08,
              'from the start of planning to the first new action, s; where it is estimated, only '
              'until it was measured', 0, 10),
    Parameter('latency_compensation', 'estimated',
              'plans start where the robot will be after the delay measured so far (estimated) or '
              'after planning_delay (constant: reproducible)', choices=('estimated', 'constant')),
    Parameter('max_plan_defect', 0.0,
              'plans with a larger dynamics residual are refused, latent units; 0 for no bound',
              0, 1e9, live=True),
    Parameter('goal_tolerance', 1.0,
              'the goal counts as reached within so many model steps of motion; 0 never', 0, 100,
              live=True),
    Parameter('goal.give_up_time', 20.0,
              'driven so long without coming nearer to the goal, the robot stops, s; 0 never',
              0, 3600, live=True),
    Parameter('goal.hold_time', 0.5,
              'a goal of the action is reached once the robot has held it so long, s', 0, 60),
    Parameter('frozen_timeout', 1.0,
              'pictures that do not change in so long a time of commanded, visible motion stop the '
              'robot, s; 0 never', 0, 60, live=True),
    Parameter('frozen_tolerance', 2.0,
              'pictures that differ nowhere by more are the same, levels of 255; below the noise '
              'of a live camera', 0, 255, live=True),
    Parameter('min_brightness', 3.0, 'darker pictures stop the robot: mean, levels of 255', 0, 255,
              live=True),
    Parameter('min_contrast', 3.0,
              'pictures with less stop the robot: standard deviation, levels of 255', 0, 255,
              live=True),
    Parameter('max_novelty', 2.0,
              'pictures more unlike the training data stop the robot; 1 is what 1 of 1000 familiar '
              'ones exceeds, and warns; 0 to measure nothing', 0, 1e6, live=True),
    Parameter('novel_images', 3, 'so many of them in a row', 1, 1000, live=True),
    Parameter('dry_run', False, 'plan and report, but command nothing; while active '
              'only switched on', live=True),
    Parameter('image.compressed', False, 'cameras send sensor_msgs/CompressedImage'),
    Parameter('goal_image.compressed', False, 'goal comes as sensor_msgs/CompressedImage'),
    Parameter('goal_image.durability', 'volatile', 'of the goal subscription',
              choices=('volatile', 'transient_local')),
    Parameter('proprioception.type', JOINT_STATE, 'message type on the topic proprioception, '
              'which models with proprioception subscribe to', choices=PROPRIOCEPTION_TYPES),
    Parameter('proprioception.fields', [],
              "field for each component of the model's proprioception, as velocity.<joint> of a "
              "JointState or linear.x; empty: the model's names", element=str),
    Parameter('sync_tolerance', 0.05,
              'what several cameras, or cameras and proprioception, gave counts as one observation '
              'if its stamps differ by no more, s', 0, 10, live=True),
    Parameter('command.type', TWIST_STAMPED, 'message type of the command', choices=COMMAND_TYPES),
    Parameter('command.fields', ['linear.x', 'linear.y'],
              'field of a Twist for each component of the action', element=str),
    Parameter('command.joint_names', [], 'joint for each component, for JointTrajectory',
              element=str),
    Parameter('command.frame_id', 'base_link', 'frame of the command'),
    Parameter('command.low', [], "tighter lower limits, the action's units; empty: the model's"),
    Parameter('command.high', [], "tighter upper limits, the action's units; empty: the model's"),
    Parameter('command.max_rate', [],
              'largest change of each component per second, its unit/s; empty: unlimited', 0),
    Parameter('command.conflict', 'stop',
              'what a second publisher on the topic does: stop the robot, or only warn',
              choices=('stop', 'warn'), live=True),
    Parameter('command.max_acceleration', [],
              'largest change of that rate per second, unit/s^2; empty: unlimited', 0),
    Parameter('command.stop_decay', 0.0,
              'time in which a stop decays to zero, s; longer where the limits ask for it', 0, 2),
    Parameter('diagnostics.max_jitter', 0.01,
              '99th percentile of the lateness of commands at which /diagnostics warns, s', 0, 10),
    Parameter('diagnostics.max_prediction_error', 3.0,
              'imagined-versus-real error at which /diagnostics warns, model steps of motion; '
              'twice that is an error; 0 for never', 0, 1e6),
    Parameter('diagnostics.hold_time', 5.0,
              'a level of /diagnostics is lowered after so long without cause, s', 0, 3600),
    Parameter('trace_file', '',
              'latency trace to write while active, Chrome-trace JSON; empty: none'),
    Parameter('planner.name', 'grasp', 'which planner', choices=tuple(PLANNERS)),
    Parameter('planner.horizon', 50, 'T, model steps', 1, 10000),
    Parameter('planner.horizon_mode', 'shrinking',
              'fixed, or shrinking with the executed steps down to the floor',
              choices=('fixed', 'shrinking')),
    Parameter('planner.horizon_floor', 8, 'smallest shrunken horizon, model steps', 1, 10000),
    Parameter('planner.stall_time', 2.0, 'without progress, a shrunken horizon is renewed, s',
              0.1, 600, live=True),
    Parameter('planner.replan_period', 0.0,
              'from the picture behind a plan to that behind the next, s; 0: one model step where '
              'it holds several commands, else every picture is planned from', 0, 60),
    Parameter('planner.deadline', 0.08, 'a solve returns its best plan so far after, s; 0: none',
              0, 600, live=True),
    Parameter('planner.hang_timeout', 2.0,
              'a solve that takes longer stops the robot, s; 0 never', 0, 600, live=True),
    *planner_parameters('grasp'),
)

BASELINE_PARAMETERS: tuple[Parameter, ...] = tuple(
    row for name in PLANNERS if name != 'grasp' for row in planner_parameters(name)
)

REMOVED: dict[str, str] = {
    'grasp.patience': "leave it out, all 'grasp.iterations' are made",
    'grasp.least_gain': "leave it out, all 'grasp.iterations' are made",
    'grasp.keep': "leave it out, all 'grasp.candidates' go on to the end",
    'grasp.free_final_time': 'leave it out, plans have the whole horizon; '
    "'planner.horizon_mode' shrinking shortens it with the executed steps",
    'grasp.time_charge': "leave it out, it belonged to 'grasp.free_final_time'",
    **{
        f'{name}.manifold_weight': 'leave it out; how far a plan can be trusted is '
        'trust_horizon in ~/status'
        for name in PLANNERS
    },
}
"""Parameters of earlier versions, and what to do instead: the end of "... was removed: ..."."""


def markdown_table(table: Iterable[Parameter] = PARAMETERS) -> str:
    """The table of docs/parameters.md."""
    lines = [
        '| parameter | type | default | allowed | while active | meaning |',
        '|---|---|---|---|---|---|',
    ]
    for row in table:
        default = row.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        lines.append(
            f'| `{row.name}` | {row.type_name} | `{shown}` | {row.range_text} '
            f'| {"yes" if row.live else ""} | {row.description} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    print(markdown_table())
