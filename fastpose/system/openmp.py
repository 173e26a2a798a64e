"""How OpenMP's threads wait for each other on a machine that others use too."""

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
