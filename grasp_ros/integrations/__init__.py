"""Planners inside other people's libraries; none of these libraries is needed to import this."""
