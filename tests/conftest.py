"""Puts this folder on the path, so that tests say `import reference`, `import helpers`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
