"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes says how busy the machine is.
settings.register_profile("auditbox", deadline=None, print_blob=True)
settings.load_profile("auditbox")
