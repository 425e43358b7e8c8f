"""Found by Python before all else where this folder is on its path: the clock of that process is wrong, and only that.

Not the seconds since boot, which nobody sets. `CHAOS_CLOCK_SECONDS`: by how much it is fast.
"""

from __future__ import annotations

import os
import time

_right, _fast = time.time, float(os.environ["CHAOS_CLOCK_SECONDS"])
time.time = lambda: _right() + _fast
