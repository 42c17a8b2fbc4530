"""The FMA peak of this machine: a C program of independent fused multiply-adds in registers."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from benchmarks.race import pinned_cores

# 12 chains hide the latency of two units of four or five cycles; all stay in registers.
SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__AVX512F__)
enum { WIDTH = 16 };
#elif defined(__AVX__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
typedef float vec __attribute__((vector_size(WIDTH * 4)));
enum { N = 1000000 };
static pthread_barrier_t barrier;
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
#define EACH(M) M(a) M(b) M(c) M(d) M(e) M(f) M(g) M(h) M(i) M(j) M(k) M(l)
struct work { float sum; double start, end; };
static void *work(void *argument) {
    struct work *mine = argument;
    vec x = {0}, y = {0};
    x += 0.999f; y += 1e-3f;
    __asm__ volatile("" : "+x"(x), "+x"(y));
#define MAKE(v) vec v = y;
    EACH(MAKE)
    pthread_barrier_wait(&barrier);
    mine->start = now();
    for (long n = 0; n < N; ++n) {
#define STEP(v) v = v * x + y; __asm__ volatile("" : "+x"(v));
        EACH(STEP)
    }
    mine->end = now();
    vec total = y;
#define ADD(v) total += v;
    EACH(ADD)
    mine->sum = total[0];
    return 0;
}
int main(int argc, char **argv) {
    int n_threads = atoi(argv[1]), n_repeats = atoi(argv[2]);
    double best = 0;
    struct work *works = calloc(n_threads, sizeof *works);
    for (int repeat = 0; repeat < n_repeats; ++repeat) {
        pthread_t threads[n_threads];
        pthread_barrier_init(&barrier, 0, n_threads);
        for (int t = 0; t < n_threads; ++t) pthread_create(threads + t, 0, work, works + t);
        double start = 1e300, end = 0;
        for (int t = 0; t < n_threads; ++t) {
            pthread_join(threads[t], 0);
            if (works[t].start < start) start = works[t].start;
            if (works[t].end > end) end = works[t].end;
        }
        double flops = 2.0 * WIDTH * 12 * N * n_threads / (end - start);
        if (flops > best) best = flops;
        pthread_barrier_destroy(&barrier);
    }
    printf("%g %d\n", best, WIDTH);
    return works[0].sum == 12345;
}
"""


@cache
def program() -> Path | None:
    """Compile once a process; None without a compiler that can."""
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    if compiler is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="fma-peak-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "peak.c").write_text(SOURCE)
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
    command = [compiler, *flags, str(folder / "peak.c"), "-o", str(folder / "peak")]
    done = subprocess.run(command, capture_output=True, check=False)
    return folder / "peak" if done.returncode == 0 else None


def measure(threads: Iterable[int], repeats: int = 20) -> dict[int, float]:
    """Multiply and add count 2: flop/s in float32 by thread count; {} if it cannot be measured.

    The best of some repeats of a few milliseconds, so the peak of the clock as it runs now.
    """
    path = program()
    if path is None:
        return {}
    peaks = {}
    for n_threads in threads:
        cores = pinned_cores(n_threads)
        pin = {"preexec_fn": lambda cores=cores: os.sched_setaffinity(0, cores)} if cores else {}
        command = [str(path), str(n_threads), str(repeats)]
        done = subprocess.run(command, capture_output=True, check=False, text=True, **pin)
        if done.returncode == 0:
            peaks[n_threads] = float(done.stdout.split()[0])
    return peaks
