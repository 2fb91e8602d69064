"""How many threads a computation of the app's server takes: the one that asks for it.

Streamlit answers every click in a thread of its own, and OpenMP gives every thread that computes a team of helpers, as
many as there are cores, whatever `torch.set_num_threads` said in another thread. To make a team for one small `exp`,
and to wait for it, takes up to 8 ms on two cores; `exp` itself takes 0.01 ms. Large computations go without helpers
too: there are many side by side, beside workers that train.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "OMP_NUM_THREADS"


@contextmanager
def no_helpers() -> Iterator[None]:
    """Libraries that are loaded meanwhile give no thread a helper. Processes that are started later are not told so:
    workers take what the environment says."""
    said = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if said is not None:
            os.environ[VARIABLE] = said
