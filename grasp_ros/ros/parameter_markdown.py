"""The planner's table of parameters; run it to print the table for the README."""

from __future__ import annotations

from grasp_ros.parameters.table import PARAMETERS, RIVAL_PARAMETERS, markdown_table

__all__ = ['PARAMETERS', 'RIVAL_PARAMETERS', 'markdown_table']


if __name__ == '__main__':
    print(markdown_table())
