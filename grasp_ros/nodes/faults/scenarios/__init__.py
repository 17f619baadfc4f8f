"""One scenario for each row of the table, by its name."""

from grasp_ros.nodes.faults.scenario import Scenario
from grasp_ros.nodes.faults.scenarios import (
    camera,
    goal,
    parameters,
    planner,
    processes,
    simulated,
    surroundings,
)

SCENARIOS: dict[str, Scenario] = {
    **camera.SCENARIOS,
    **goal.SCENARIOS,
    **planner.SCENARIOS,
    **simulated.SCENARIOS,
    **parameters.SCENARIOS,
    **surroundings.SCENARIOS,
    **processes.SCENARIOS,
}
