"""The simulated tasks: a new one is a folder beside this file and a line below.

`sim_robot`, `demo`, `train` and `benchmark` take their tasks from here. What training a model of a
task takes is in `training/recipes.py`, by the task's name.
"""

from __future__ import annotations

from collections.abc import Mapping

from grasp_ros.sim.point_maze import POINT_MAZE
from grasp_ros.sim.protocol import Task
from grasp_ros.sim.push_t import PUSH_T
from grasp_ros.sim.rooms import MAZE, TWO_ROOM, TWO_ROOM_DRAWN_DOOR, RoomsTask

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        TWO_ROOM,
        TWO_ROOM_DRAWN_DOOR,
        MAZE,
        PUSH_T,
        POINT_MAZE,
    )
}
"""All tasks by name."""

ROOMS: Mapping[str, RoomsTask] = {
    name: task for name, task in TASKS.items() if isinstance(task, RoomsTask)
}
"""Those of a robot driven by velocities among walls: `train --task` and `benchmark` run these."""
