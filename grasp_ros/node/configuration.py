"""All that the planner node holds from configure to cleanup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.lifecycle import LifecycleNode

from grasp_ros.control.factory import PlannerStack
from grasp_ros.messages.commands import CommandLayout
from grasp_ros.messages.proprioception import ProprioceptionLayout
from grasp_ros.models.checkpoint import MODEL_FILES, find_model
from grasp_ros.node.goals import GoalIntake
from grasp_ros.node.interfaces import Topics
from grasp_ros.node.reach_goal import ReachGoalServer


class FileChangeMonitor:
    """Notices files that are replaced, written to or gone."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Watch `paths` from now on."""
        self._known = {path: _fingerprint(path) for path in paths}

    def changed(self) -> list[Path]:
        """Those that changed since the last call."""
        now = {path: _fingerprint(path) for path in self._known}
        changed = [path for path, print_ in now.items() if print_ != self._known[path]]
        self._known = now
        return changed


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def model_files(name: str) -> FileChangeMonitor:
    """Watch the files of the model of that name; raises CheckpointError if there is none."""
    folder = find_model(name)
    return FileChangeMonitor([folder / name for name in MODEL_FILES])


@dataclass(frozen=True, eq=False)
class Configuration:
    """Model, planner and interfaces of a configured node.

    Attributes:
        stack: the controller, its model and planner.
        files: of the model, watched since before it was loaded.
        commands: how commands lie in messages.
        proprioception: how proprioception lies in messages; None for a model without.
        topics: publishers and subscriptions.
        goals: takes goals for the controller.
        reach: the action.
    """

    stack: PlannerStack
    files: FileChangeMonitor
    commands: CommandLayout
    proprioception: ProprioceptionLayout | None
    topics: Topics
    goals: GoalIntake
    reach: ReachGoalServer

    def destroy(self, node: LifecycleNode) -> None:
        """Take the interfaces back from `node`, which offers them."""
        self.topics.destroy(node)
        self.reach.destroy()
