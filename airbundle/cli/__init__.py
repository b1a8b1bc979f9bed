"""The command line. What is here makes each start faster.

Nothing multiplies matrices: numpy's thread pool for that would cost 0.1 s. Imports make no garbage: looking for it is
put off until `main` has made them.
"""

import gc
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
gc.disable()
