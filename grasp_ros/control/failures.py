"""Plans that must not be executed, and what a failed solve means for the next."""

from __future__ import annotations

import torch

from grasp_ros.planning.problem import Plan

MEMORY_TRIES = 5

_DEVICE_ERRORS: tuple[type[Exception], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, 'AcceleratorError') else ()  # PyTorch >= 2.8
)
_DEVICE_WORDS = ('cuda error', 'cublas', 'cudnn', 'cusolver', 'device-side assert', 'hip error')


class BadPlanError(Exception):
    """A plan that must not be executed; the message says why."""


def check_plan(plan: Plan, max_defect: float) -> None:
    """Refuse a plan that is not finite or does not follow the model.

    Args:
        plan: the answer to one problem.
        max_defect: largest dynamics defect, latent units.

    Raises:
        BadPlanError: saying what is wrong with it.
    """
    for name in ('actions', 'states', 'terminal_cost', 'defect'):
        if not torch.isfinite(getattr(plan, name)).all():
            raise BadPlanError(f'the plan holds non-finite {name}: the world model gives NaN')
    defect = float(plan.defect[0])
    if defect > max_defect:
        raise BadPlanError(
            f'defect {defect:.3g} of the plan is above max_plan_defect {max_defect:.3g}: it does '
            'not follow the model'
        )


class SolveFailures:
    """Counts failures of the device that planner and model run on.

    Attributes:
        final: why nothing is tried any more; empty while it is.
    """

    def __init__(self) -> None:
        """Begin without failures."""
        self.clear()

    def clear(self) -> None:
        """Try again, as on activation."""
        self.final = ''
        self._memory_failures = 0

    def succeeded(self) -> None:
        """Count a solve that succeeded."""
        self._memory_failures = 0

    def failed(self, error: Exception) -> str:
        """Count an exception of planner or model; free cached memory where it ran out.

        Returns:
            The reason to report.
        """
        reason = f'planner failed: {type(error).__name__}: {error}'
        if is_out_of_memory(error):
            self._memory_failures += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self._memory_failures >= MEMORY_TRIES:
                reason = self.final = (
                    f'out of memory {MEMORY_TRIES} times in a row, no more tries: {error}; '
                    'free memory, then deactivate and activate the node'
                )
        elif is_device_lost(error):
            reason = self.final = (
                f'the device failed, no more tries: {error}; clean up and configure the node, or '
                'start it again where that fails'
            )
        return reason


def is_device_error(error: Exception) -> bool:
    """Return whether device or memory failed, whatever was computed."""
    return is_out_of_memory(error) or is_device_lost(error)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out, of the device or of the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and 'out of memory' in str(error).lower()


def is_device_lost(error: Exception) -> bool:
    """Return whether the accelerator reports an error that no other solve will be without."""
    if isinstance(error, _DEVICE_ERRORS):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _DEVICE_WORDS)
