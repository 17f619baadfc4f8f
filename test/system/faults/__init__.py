"""The table of faults, and a harness that provokes each with real processes over real DDS."""
