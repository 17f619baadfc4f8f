"""How a plan is found: GRASP, its objective, and what every planner shares."""
