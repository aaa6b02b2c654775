"""Scheduling of requests: each model has a queue, whose requests are joined into batches and counted."""

from .pending import Inputs, NullMetrics, Outputs, SchedulerMetrics
from .scheduler import Scheduler
from .sequence_controls import SequenceControls
from .sequence_scheduler import SequenceScheduler
from .statistics import ModelStatistics

__all__ = [
    "Inputs",
    "ModelStatistics",
    "NullMetrics",
    "Outputs",
    "Scheduler",
    "SchedulerMetrics",
    "SequenceControls",
    "SequenceScheduler",
]
