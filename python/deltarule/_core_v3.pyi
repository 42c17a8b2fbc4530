# The same core for another CPU level.
from deltarule._core_v2 import *  # noqa: F403
