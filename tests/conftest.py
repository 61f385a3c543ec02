"""Two tests run at a time on two cores, so each keeps to one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # on a CUDA device products repeat to the bit
