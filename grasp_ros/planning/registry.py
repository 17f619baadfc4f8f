"""All planners by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.baselines.cem import CemConfig, CemPlanner
from grasp_ros.planning.baselines.gradient import GradientConfig, GradientPlanner
from grasp_ros.planning.baselines.greedy import GreedyConfig, GreedyPlanner
from grasp_ros.planning.baselines.icem import IcemConfig, IcemPlanner
from grasp_ros.planning.baselines.latco import LatcoConfig, LatcoPlanner
from grasp_ros.planning.baselines.mppi import MppiConfig, MppiPlanner
from grasp_ros.planning.baselines.random_shooting import RandomShootingConfig, RandomShootingPlanner
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.options import DistanceOptions
from grasp_ros.planning.protocol import Planner


@dataclass(frozen=True)
class Entry:
    """A planner and its configuration.

    Attributes:
        config: dataclass whose fields are made by `option`.
        planner: builds the planner from a model and a configuration.
    """

    config: type[DistanceOptions]
    planner: Callable[[WorldModel, Any], Planner]


PLANNERS: Mapping[str, Entry] = {
    'grasp': Entry(GraspConfig, GraspPlanner),
    'greedy': Entry(GreedyConfig, GreedyPlanner),
    'cem': Entry(CemConfig, CemPlanner),
    'icem': Entry(IcemConfig, IcemPlanner),
    'mppi': Entry(MppiConfig, MppiPlanner),
    'gradient': Entry(GradientConfig, GradientPlanner),
    'latco': Entry(LatcoConfig, LatcoPlanner),
    'random_shooting': Entry(RandomShootingConfig, RandomShootingPlanner),
}


def build(name: str, model: WorldModel, options: Mapping[str, Any] | None = None) -> Planner:
    """The planner of that name.

    Args:
        name: as in PLANNERS.
        model: to plan with.
        options: values of its configuration that are not the defaults.

    Raises:
        ValueError: if there is no such planner, or it cannot plan with this model.
        TypeError: if it has no such option.
    """
    if name not in PLANNERS:
        raise ValueError(f'there is no planner {name!r}; there are: {", ".join(PLANNERS)}')
    entry = PLANNERS[name]
    return entry.planner(model, entry.config(**(options or {})))
