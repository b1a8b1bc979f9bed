"""The command line. Nothing here multiplies matrices: numpy's thread pool for that would cost 0.1 s at each start."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
