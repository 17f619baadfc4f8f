"""Old module paths, kept for one release: each is an alias of the module that took its place.

The finder below comes first: the folder of an old package would be searched for its modules, too,
and one file would be loaded under two names.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

MOVED = {
    'grasp_ros.nodes': 'grasp_ros.node',
    'grasp_ros.nodes.planner': 'grasp_ros.node.planner',
    'grasp_ros.nodes.parameters': 'grasp_ros.parameters.table',
    'grasp_ros.nodes.goal': 'grasp_ros.tools.goal',
    'grasp_ros.nodes.record': 'grasp_ros.tools.record',
    'grasp_ros.nodes.play': 'grasp_ros.tools.play',
    'grasp_ros.nodes.sim_robot': 'grasp_ros.tools.sim_robot',
    'grasp_ros.nodes.random_driver': 'grasp_ros.tools.random_driver',
    'grasp_ros.nodes.demo': 'grasp_ros.tools.demo.command',
    'grasp_ros.nodes.train_from_bags_demo': 'grasp_ros.tools.demo.train_from_bags',
    'grasp_ros.bags.replay': 'grasp_ros.tools.replay',
    'grasp_ros.core': 'grasp_ros.control',
    'grasp_ros.core.planner': 'grasp_ros.planning.protocol',
    'grasp_ros.core.world_model': 'grasp_ros.models.protocol',
    'grasp_ros.planners': 'grasp_ros.planning',
    'grasp_ros.planners.registry': 'grasp_ros.planning.registry',
    'grasp_ros.benchmark.speed_suite': 'grasp_ros.benchmark.speed.suite',
    'grasp_ros.benchmark.large_model': 'grasp_ros.benchmark.speed.large_model',
    'grasp_ros.benchmark.toy_picture': 'grasp_ros.benchmark.toy_image',
    'grasp_ros.training.calibrate': 'grasp_ros.training.evaluation.calibrate',
    'grasp_ros.training.push_t_data': 'grasp_ros.training.data.push_t_data',
    'grasp_ros.training.recorded': 'grasp_ros.training.data.recorded',
}
"""Old path -> present path."""


class _Alias(Loader):
    """Loads the module that an old path stands for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the present module, with a warning that names it."""
        warnings.warn(
            f'{spec.name} is {MOVED[spec.name]} now; the old path goes with the next release',
            DeprecationWarning,
            stacklevel=2,
        )
        module = importlib.import_module(MOVED[spec.name])
        self._own = (module.__spec__, module.__loader__, module.__package__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module, which has run already, back what the import system wrote into it."""
        module.__spec__, module.__loader__, module.__package__ = self._own

    def get_code(self, name: str) -> CodeType:
        """Code for `python -m OLD`: run the present module in its place."""
        source = f'import runpy; runpy.run_module({MOVED[name]!r}, run_name="__main__")'
        return compile(source, name, 'exec')


class _Finder(MetaPathFinder):
    """Finds the old paths, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of an alias, or None for any module that is not in the list."""
        if fullname not in MOVED:
            return None
        is_package = any(old.startswith(f'{fullname}.') for old in MOVED)
        return ModuleSpec(fullname, _Alias(), is_package=is_package)


def install() -> None:
    """Make the old paths importable, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
