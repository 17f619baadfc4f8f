"""Planning: GRASP, its objective, the baselines, and what all planners share."""
