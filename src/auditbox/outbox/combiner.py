"""Threads of one process write together: one leads, commits for everyone that waits, and passes on.

A lone caller leads at once and commits on its own thread: a hand-over to a writer thread would cost it five
times as much. Whoever finds a leader at work queues up, and is either told that its job is done or
becomes the next leader.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

from auditbox.errors import OutboxBusy
from auditbox.outbox import forking
from auditbox.outbox.frames import (
    ENTRIES,
    HOLDS,
    INSPECTS,
    LEADS,
    WAITS,
    entries,
    innermost,
    is_in,
    somebody_inspects,
)
from auditbox.outbox.job import Interrupted, Job

_LARGEST_BATCH = 512
_SLICE, _DOUBLED = 0.05, 3
"""Seconds after which a waiting thread looks by itself, should the exception of a signal handler have
kept a leader from passing on; how often they double. (Hundreds that look again and again keep each other, and
the leader, from running at all.)"""

_PATIENCE = 0.1
"""Seconds after which it looks whether the thread that has the lead is still in it; then nobody else does for
as long: it is a look at every thread's stack."""
_INSPECTED = object()
"""In place of whether somebody leads: while it is looked at, nobody may begin to."""


class Combiner:
    """Runs jobs in batches, one batch at a time.

    Args:
        commit: does what a batch asks and finishes each of its jobs.
        bound: the longest that a job waits for its turn, in seconds.
    """

    def __init__(self, commit: Callable[[list[Job]], None], bound: float) -> None:
        self._commit, self._bound = commit, bound
        self._queue: deque[Job] = deque()
        self._hand: deque[Job] = deque()
        """What a leader has taken from the queue, and has not told the outcome of."""
        self._lead = threading.RLock()
        self._leading: object = False
        self._holder: int | None = None
        self._waiting: set[int] = set()
        self._look_at = 0.0
        self._inspecting = threading.RLock()

    def run(self, job: Job) -> Any:
        """Does the job, or has it done; returns its result or raises its error."""
        mine = self._lead.acquire(blocking=False)
        if mine and entries() > 1:
            if self._leading:
                return self._join(job)
        elif mine:
            mine = self._comes_to_lead()
        if mine:
            self._queue.append(job)
            self._take_the_lead(job)
        else:
            job.turn = threading.Lock()
            job.turn.acquire()
            self._queue.append(job)
            self._wait(job)
        if job.error is not None:
            raise job.error
        return job.result

    def _comes_to_lead(self) -> bool:
        """Having got the lock, in no other entry: whether nobody leads, or only seems to.

        An inspection that has begun since we looked finds us here, and ends without a change.
        """
        if self._steps_aside():
            return False
        if self._leading is not True or self._heal():
            return True
        if self._lead._is_owned():  # type: ignore[attr-defined]
            self._lead.release()
        return False

    def enter_alone(self) -> bool:
        """Takes the lead for a caller that finds nobody writing or waiting; it must :meth:`leave`."""
        if self._queue or not self._lead.acquire(blocking=False):
            return False
        if self._leading:  # this very thread leads, and was interrupted by a signal
            with suppress(RuntimeError):  # or was thought not to, and another lock stands here by now
                self._lead.release()
            return False
        self._leading = True
        return True

    def leave(self) -> None:
        """Ends a lead."""
        self._leading = False
        self._lead.release()
        self.left()

    def left(self) -> None:
        """After a lead: serves whoever came meanwhile."""
        if self._lead._is_owned():  # type: ignore[attr-defined]
            self._heal()
        if self._queue:
            self._pass_on()

    def _heal(self) -> bool:
        """Lets go of a lead that nobody on this thread's stack is in; False where somebody is.

        The exception of a signal handler may fall between any two instructions: then a lead stays
        behind that its thread no longer knows of.
        """
        if self._is_held() or entries() > 1:
            return False
        self._give_up_mine()
        if self._leading:
            self._leading = False
            return self._lead.acquire(blocking=False)
        return True

    def _give_up_mine(self) -> None:
        lead = self._lead
        if lead._is_owned():  # type: ignore[attr-defined]
            lead._release_save()  # type: ignore[attr-defined]

    def try_run(self, job: Job) -> bool:
        """Does the job if nobody is writing and nobody waits; False without waiting otherwise."""
        if not self.enter_alone():
            return False
        self._queue.append(job)
        self._take_the_lead(job)
        if isinstance(job.error, OutboxBusy):
            return False
        if job.error is not None:
            raise job.error
        return True

    def hold(self) -> bool:
        """Keeps everybody else from leading, waiting for the one who does; False past the bound."""
        while True:
            inspecting = self._inspecting
            inspects = inspecting.acquire(timeout=self._bound)
            try:
                lead = self._lead
                held = lead.acquire(timeout=self._bound)
                self._holder = threading.get_ident() if held else None
            finally:
                if inspects:
                    inspecting.release()
            if not held or lead is self._lead:
                return held
            lead.release()  # it was taken for abandoned meanwhile, and another lock stands there

    def let_go(self) -> None:
        """Ends a hold."""
        self._holder = None
        with suppress(RuntimeError):  # it was taken for abandoned
            self._lead.release()
        self._pass_on()

    def _is_held(self) -> bool:
        """Whether somebody holds; one who was torn out of it by a signal handler's exception does not."""
        holder = self._holder
        if holder is None:
            return False
        if not forking.under_way() and not is_in(sys._current_frames().get(holder), HOLDS):
            self._holder = None
            return False
        return True

    def _join(self, job: Job) -> None:
        """This thread leads already and was interrupted: the leader takes the job along before it ends."""
        try:
            if job.work is not None:
                raise OutboxBusy("called from within a capture of the same thread")
            self._queue.append(job)
        finally:
            with suppress(RuntimeError):
                self._lead.release()

    def _take_the_lead(self, job: Job | None) -> None:
        """Holding the lead: commits what waits, until this job is done; then passes on."""
        self._leading = True
        try:
            while (self._queue or self._hand) and (job is None or not job.done):
                self._lead_once()
        finally:
            self.leave()

    def _lead_once(self) -> None:
        """An exception may fall anywhere: what is in hand then is told by the next leader, if only by the
        thread that waits for it. From the queue into the hand leads one call of C, in which none can fall."""
        self._tell()
        try:
            count = min(len(self._queue), _LARGEST_BATCH)
            with suppress(IndexError):  # somebody has withdrawn meanwhile
                self._hand.extend(map(deque.popleft, repeat(self._queue, count)))
            if self._hand:
                self._commit(list(self._hand))
        finally:
            self._tell()

    def _tell(self) -> None:
        """Tells everybody whose job is in hand what came of it."""
        hand = self._hand
        while hand:
            job = hand[0]
            if not job.done:
                job.finish(error=Interrupted())
            job.wake()
            hand.popleft()

    def _pass_on(self) -> None:
        """Wakes the next leader; leads on for a job whose caller did not wait (see _join)."""
        while self._queue:
            try:
                head = self._queue[0]
            except IndexError:
                return
            if head.turn is not None:
                head.wake()
                return
            if not self._lead.acquire(blocking=False):
                return
            self._take_the_lead(None)

    def _wait(self, job: Job) -> None:
        me, now, naps = threading.get_ident(), time.monotonic(), 0
        deadline, look_at = now + self._bound, now + _PATIENCE
        try:
            while not job.done:
                if self._lead.acquire(blocking=False) and not self._steps_aside():
                    self._take_the_lead(job)
                    continue
                if (now := time.monotonic()) >= deadline and self._withdraw(job):
                    raise OutboxBusy
                self._waiting.add(me)
                nap = _SLICE * 2 ** min(naps, _DOUBLED)
                naps += not job.turn.acquire(timeout=min(nap, max(deadline - now, _SLICE)))
                looks = (now := time.monotonic()) >= max(look_at, self._look_at)
                if looks:
                    self._look_at = look_at = now + _PATIENCE
                    self._look_for_the_leader()
                self._waiting.discard(me)
                if looks:
                    self._pass_on()  # to whoever has stepped aside
        finally:
            self._waiting.discard(me)

    def _steps_aside(self) -> bool:
        """Having got the lock: whether it is left again, because somebody inspects who leads."""
        if self._leading is not _INSPECTED:
            return False
        self._give_up_mine()
        return True

    def _look_for_the_leader(self) -> None:
        """Takes the lead from a thread that was torn out of it, and does not capture again to notice.

        Meanwhile nobody comes to lead: whoever gets the lock looks at ``_leading`` before anything else. So a
        thread that is in no entry now does not lead, whatever lock it has; and the new lock counts only when
        everybody who may have got the old one has looked.
        """
        inspecting = self._inspecting
        if not inspecting.acquire(blocking=False):
            if not somebody_inspects():  # it was left behind by the exception of a signal handler, too
                self._inspecting = threading.RLock()
                self._look_for_the_leader()
            return
        try:
            if self._is_held():
                return
            self._leading = _INSPECTED
            # Somebody who led when this began, and is through, has noted that nobody leads: then others may.
            if not self._somebody_may_lead() and self._leading is _INSPECTED:
                self._lead = threading.RLock()
                while self._somebody_may_lead():
                    time.sleep(0.001)
                self._leading = False
        finally:
            if self._leading is _INSPECTED:
                self._leading = True  # if that is no longer so, the next one heals it
            inspecting.release()

    def _somebody_may_lead(self) -> bool:
        """Whether any thread is where one leads, or is about to, and is not known to wait."""
        for thread, frame in sys._current_frames().items():
            code = innermost(frame)
            if code is not None and (code not in WAITS or thread not in self._waiting):
                return True
        return False

    def _withdraw(self, job: Job) -> bool:
        """Takes a job back; False when a leader has it in hand."""
        try:
            self._queue.remove(job)
        except ValueError:
            return False
        return True


ENTRIES.update({Combiner.run.__code__, Combiner.try_run.__code__})
INSPECTS.update({Combiner.hold.__code__, Combiner._look_for_the_leader.__code__})
LEADS.update({Combiner._take_the_lead.__code__, Combiner._pass_on.__code__})
WAITS.add(Combiner._wait.__code__)
