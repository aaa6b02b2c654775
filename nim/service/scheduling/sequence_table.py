"""The sequences of a model: those with a slot, and those that wait for one. The scheduler holds a lock."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence

from .sequence_slot import SequenceRequest, SequenceSlot, earliest_deadline


class WaitingSequence:
    """A sequence that waits for a slot, with its requests so far."""

    def __init__(self) -> None:
        self.requests: deque[SequenceRequest] = deque()
        self.deadline = math.inf
        """The earliest deadline of the requests: then the whole sequence is rejected, as in Triton."""


class SequenceTable:
    """The sequences of one model, by correlation id. A sequence is in the table until its last request arrives."""

    def __init__(self, slots: Sequence[SequenceSlot], max_idle_s: float) -> None:
        self._free = list(reversed(slots))
        self._max_idle_s = max_idle_s
        self._slots: dict[int | str, SequenceSlot] = {}
        self._last_used: OrderedDict[int | str, float] = OrderedDict()  # of the sequences with a slot, oldest first
        self._open: dict[int | str, WaitingSequence] = {}  # those of the backlog whose last request has not arrived
        self._backlog: deque[WaitingSequence] = deque()

    def knows(self, sequence: int | str) -> bool:
        """Whether `sequence` has been started and has not ended."""
        return sequence in self._slots or sequence in self._open

    def add(self, request: SequenceRequest, now: float) -> SequenceSlot | None:
        """Append `request` to its sequence, which starts unless it is known. Returns its slot, None if it waits for
        one."""
        sequence, end = request.step.id, request.step.end
        slot = self._slots.get(sequence)
        if slot is None and sequence not in self._open and self._free:
            slot = self._slots[sequence] = self._free.pop()
        if slot is None:
            self._wait(request)
            return None
        slot.queue.append(request)
        self._used(sequence, now)
        if end:
            self._forget(sequence)
        return slot

    def release(self, slot: SequenceSlot, now: float) -> None:
        """Give `slot`, whose sequence has ended, to the sequence that has waited longest, if any."""
        slot.ended = False
        if not self._backlog:
            self._free.append(slot)
            return
        waiting = self._backlog.popleft()
        slot.queue = waiting.requests
        last = waiting.requests[-1].step
        if not last.end:
            del self._open[last.id]
            self._slots[last.id] = slot
            self._used(last.id, now)

    def end_idle(self, now: float) -> list[SequenceSlot]:
        """End the sequences that have been idle for too long. Returns the slots that others got."""
        reused = []
        while self._last_used:
            sequence, used = next(iter(self._last_used.items()))
            if used + self._max_idle_s > now:
                break
            slot = self._slots[sequence]
            self._forget(sequence)
            slot.ended = True
            if not slot.busy and not slot.queue:
                self.release(slot, now)
                reused.append(slot)
        return reused

    def drop_expired(self, now: float) -> list[SequenceRequest]:
        """Remove the waiting sequences whose deadline has passed; returns their requests."""
        return self._drop([waiting for waiting in self._backlog if waiting.deadline <= now])

    def drop_backlog(self) -> list[SequenceRequest]:
        """Remove all waiting sequences; returns their requests."""
        return self._drop(list(self._backlog))

    def drop_cancelled(self, request: SequenceRequest) -> int:
        """Free the tensors of `request`, and remove its sequence if it waits and all its requests are cancelled.
        Returns the number of removed requests."""
        for waiting in self._backlog:
            if request in waiting.requests:
                request.inputs = {}
                cancelled = all(each.future.cancelled() for each in waiting.requests)
                return len(self._drop([waiting])) if cancelled else 0
        slot = self._slots.get(request.step.id)
        if slot is not None and request in slot.queue:
            request.inputs = {}
        return 0

    def next_event(self) -> float:
        """When `end_idle` or `drop_expired` has something to do next (``time.perf_counter``); infinite if never."""
        oldest = next(iter(self._last_used.values()), math.inf)
        return min([oldest + self._max_idle_s, *(waiting.deadline for waiting in self._backlog)])

    def _wait(self, request: SequenceRequest) -> None:
        sequence = request.step.id
        waiting = self._open.get(sequence)
        if waiting is None:
            waiting = self._open[sequence] = WaitingSequence()
            self._backlog.append(waiting)
        waiting.requests.append(request)
        waiting.deadline = earliest_deadline(waiting.requests)
        if request.step.end:
            del self._open[sequence]

    def _used(self, sequence: int | str, now: float) -> None:
        self._last_used[sequence] = now
        self._last_used.move_to_end(sequence)

    def _forget(self, sequence: int | str) -> None:
        del self._slots[sequence], self._last_used[sequence]

    def _drop(self, dropped: list[WaitingSequence]) -> list[SequenceRequest]:
        for waiting in dropped:
            self._backlog.remove(waiting)
            last = waiting.requests[-1].step
            if self._open.get(last.id) is waiting:
                del self._open[last.id]
        return [request for waiting in dropped for request in waiting.requests]
