"""The mathematics and the policy of control: torch and numpy only."""
