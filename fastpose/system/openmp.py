"""How the threads of OpenMP and OpenBLAS share a machine with other programs."""

import os

SPINS = "2000"  # some microseconds


def share_processors() -> None:
    """Let threads of a busy machine sleep where they wait; call it before torch is imported.

    GNU's OpenMP waits by spinning before it sleeps. Where another process wants the same processors, that costs
    threads their turn: steps on skeletons then took 30 to 45 times as long, and with this 2.5 times. On a quiet
    machine spinning is a third faster, and stays. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT is obeyed.
    """
    if os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} or not hasattr(os, "getloadavg"):
        return
    try:
        busy = os.getloadavg()[0]
    except OSError:  # a system that does not say
        return
    processors = os.cpu_count() or 1
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors
    if busy > processors - ours + 0.5:
        os.environ["GOMP_SPINCOUNT"] = SPINS


def keep_blas_alone() -> None:
    """Let the OpenBLAS of NumPy and SciPy use one thread; call it before they are imported.

    Its threads spin too, over matrices that are small here: on two cores of an AMD EPYC that other programs used, the
    prior of 300 clips was fitted in 1.6 s by one thread, in 8 to 30 s by two. One also gives equal bits on any
    number of cores. Whoever sets OPENBLAS_NUM_THREADS is obeyed.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
