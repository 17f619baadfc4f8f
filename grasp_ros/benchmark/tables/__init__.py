"""Results, statistics, tables and plots."""
