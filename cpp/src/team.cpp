// Threads that wait by spinning, then yielding, then sleeping.
#include "deltarule/team.hpp"

#include "deltarule/flush_subnormals.hpp"

#include <algorithm>
#include <chrono>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace deltarule {

namespace {

void pause() {
#if defined(__SSE2__)
    _mm_pause();
#endif
}

// Returns when `value` is no longer `old`. A phase usually ends within microseconds. Yielding lets
// other threads finish where there are more than processors. Sleep comes late: a processor without
// work may be taken from a virtual machine, and then wakes milliseconds later.
void wait_while(const std::atomic<int> &value, int old) {
    using Clock = std::chrono::steady_clock;
    constexpr int kSpins = 300;
    constexpr std::chrono::milliseconds kPatience{20};
    for (int i = 0; i < kSpins; ++i, pause())
        if (value.load(std::memory_order_acquire) != old)
            return;
    for (const auto end = Clock::now() + kPatience; Clock::now() < end; std::this_thread::yield())
        if (value.load(std::memory_order_acquire) != old)
            return;
    value.wait(old, std::memory_order_acquire);
}

// A new thread may be put behind its maker, on the same processor, to wait until that one rests. It
// is moved off it, and then is the system's to place again.
void place_apart(std::thread &thread) {
#if defined(__linux__)
    cpu_set_t allowed;
    const int here = sched_getcpu();
    if (here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    cpu_set_t others = allowed;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others) == 0)
        return;
    pthread_setaffinity_np(thread.native_handle(), sizeof others, &others);
    pthread_setaffinity_np(thread.native_handle(), sizeof allowed, &allowed);
#else
    (void)thread;
#endif
}

} // namespace

Team::Team(int n_threads) {
    if (n_threads <= 1)
        return; // and nothing is allocated
    failures_.resize(static_cast<std::size_t>(n_threads));
    paces_.resize(static_cast<std::size_t>(n_threads));
    threads_.reserve(static_cast<std::size_t>(n_threads - 1));
    for (int t = 1; t < n_threads; ++t) {
        try {
            place_apart(threads_.emplace_back([this, t] { work(t); }));
        } catch (const std::exception &) {
            break; // the system refuses more: fewer threads, the same result
        }
    }
    paces_.resize(static_cast<std::size_t>(size()));
    for (Pace &pace : paces_)
        pace.part = 1.0 / size();
}

Team::~Team() {
    task_ = {};
    phase_.fetch_add(1, std::memory_order_release);
    phase_.notify_all();
    for (std::thread &thread : threads_)
        thread.join();
}

void Team::run(FunctionRef<void(int)> task) {
    if (threads_.empty())
        return task(0);
    task_ = task;
    busy_.store(size() - 1, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
    phase_.notify_all();
    perform(0);
    for (int left = busy_.load(std::memory_order_acquire); left > 0;
         left = busy_.load(std::memory_order_acquire))
        wait_while(busy_, left);
    for (std::exception_ptr &failure : failures_)
        if (failure) {
            const std::exception_ptr first = failure;
            std::fill(failures_.begin(), failures_.end(), nullptr);
            std::rethrow_exception(first);
        }
}

Share Team::share(int t) const {
    if (paces_.empty())
        return {};
    Share share{0, 0};
    for (int i = 0; i <= t; ++i) {
        share.begin = share.end;
        share.end += paces_[static_cast<std::size_t>(i)].part;
    }
    if (t + 1 == size())
        share.end = 1;
    return share;
}

void Team::run_paced(FunctionRef<double(int)> task) {
    using Clock = std::chrono::steady_clock;
    if (threads_.empty()) {
        task(0);
        return;
    }
    run([&](int t) {
        const auto start = Clock::now();
        Pace &pace = paces_[static_cast<std::size_t>(t)];
        pace.work = task(t);
        pace.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    });
    adapt();
}

// Moves the shares a tenth of the way to what the last phase suggests. There a thread counts as
// half to twice as quick as the mean, whatever held it up; all as equal if one had nothing to do.
void Team::adapt() {
    constexpr double kStep = 0.1, kMost = 2;
    double total = 0, bounded = 0;
    const bool known = std::ranges::all_of(
        paces_, [](const Pace &pace) { return pace.work > 0 && pace.seconds > 0; });
    for (const Pace &pace : paces_)
        total += known ? pace.work / pace.seconds : 1;
    const auto speed = [known, mean = total / size()](const Pace &pace) {
        return known ? std::clamp(pace.work / pace.seconds, mean / kMost, mean * kMost) : mean;
    };
    for (const Pace &pace : paces_)
        bounded += speed(pace);
    for (Pace &pace : paces_)
        pace.part += kStep * (speed(pace) / bounded - pace.part);
}

void Team::perform(int t) {
    try {
        task_(t);
    } catch (...) {
        failures_[static_cast<std::size_t>(t)] = std::current_exception();
    }
}

void Team::work(int t) {
    const FlushSubnormals flush;
    for (int seen = 0;; ++seen) {
        wait_while(phase_, seen);
        if (!task_)
            return;
        perform(t);
        if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            busy_.notify_all();
    }
}

} // namespace deltarule
