"""What the threads of this process have to do with the lead (see combiner), by the frames of their stacks.

What a thread has noted of itself is wrong where the exception of a signal handler tore it out in between; its
stack is always right. Whoever defines such a function adds its code here.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType

ENTRIES: set[CodeType] = set()
"""The functions through which a thread comes to lead; a frame of one says that it may be leading."""
LEADS: set[CodeType] = set()
"""The functions in which a thread leads, or is about to."""
WAITS: set[CodeType] = set()
"""The functions in which a thread waits for its turn, and may be about to lead."""
HOLDS: set[CodeType] = set()
"""The functions in which a thread holds, from before it does until it has let go."""
INSPECTS: set[CodeType] = set()
"""The functions in which a thread inspects who leads."""


def innermost(frame: FrameType | None) -> CodeType | None:
    """The innermost of the functions that say what a thread has to do with the lead."""
    while frame is not None:
        code = frame.f_code
        if code in WAITS or code in LEADS or code in ENTRIES:
            return code
        frame = frame.f_back
    return None


def is_in(frame: FrameType | None, functions: set[CodeType]) -> bool:
    """Whether a thread is in one of these."""
    while frame is not None:
        if frame.f_code in functions:
            return True
        frame = frame.f_back
    return False


def somebody_inspects() -> bool:
    """Whether a thread other than this one is where it is inspected who leads."""
    me = threading.get_ident()
    return any(is_in(frame, INSPECTS) for it, frame in sys._current_frames().items() if it != me)


def entries() -> int:
    """How many of the entries are on this thread's stack."""
    frame: FrameType | None = sys._getframe(1)
    count = 0
    while frame is not None:
        count += frame.f_code in ENTRIES
        frame = frame.f_back
    return count
