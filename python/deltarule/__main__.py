"""``python -m deltarule`` is the command ``deltarule``."""

from __future__ import annotations

import sys

from deltarule._cli import main

if __name__ == "__main__":
    sys.exit(main())
