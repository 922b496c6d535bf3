"""``python -m auditbox`` is the ``auditbox`` command."""

from __future__ import annotations

import sys

from auditbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
