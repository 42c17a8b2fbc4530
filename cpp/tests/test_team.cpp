// Phases: every thread takes part once, nobody is late, failures are carried over.
#include "deltarule/flush_subnormals.hpp"
#include "deltarule/team.hpp"

#include "check.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string>

#if defined(__linux__)
#include <sched.h>
#endif

using namespace deltarule;

TEST(every_thread_takes_part_once_in_each_phase) {
    for (const int n : {-1, 0, 1, 2, 3, 7}) {
        Team team(n);
        CHECK_EQ(team.size(), std::max(n, 1));
        std::vector<int> count(static_cast<std::size_t>(team.size()));
        const std::thread::id caller = std::this_thread::get_id();
        bool first_is_caller = true;
        for (int phase = 1; phase <= 300; ++phase) {
            team.run([&](int t) {
                if (t == 0)
                    first_is_caller = first_is_caller && caller == std::this_thread::get_id();
                ++count[static_cast<std::size_t>(t)]; // not atomic: the phases order it
            });
            CHECK_EQ(std::accumulate(count.begin(), count.end(), 0), phase * team.size());
        }
        CHECK(first_is_caller);
        CHECK(std::ranges::all_of(count, [](int c) { return c == 300; }));
    }
}

// What one phase wrote all see in the next, also after a sleep.
TEST(phases_are_ordered) {
    Team team(4);
    std::vector<std::ptrdiff_t> from(64, 1), to(64);
    for (int phase = 0; phase < 20; ++phase) {
        if (phase % 7 == 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(30));
        team.run([&](int t) {
            if (t == phase % 4)
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            const std::ptrdiff_t last = team.share(t).last(64, 8);
            for (std::ptrdiff_t i = team.share(t).first(64, 8); i < last; ++i) {
                const auto at = static_cast<std::size_t>(i);
                to[at] = from[at] + from[(at + 9) % 64];
            }
        });
        std::swap(from, to);
    }
    CHECK(std::ranges::all_of(from, [](std::ptrdiff_t x) { return x == 1 << 20; }));
}

TEST(the_lowest_failure_is_thrown_once) {
    for (const int n : {1, 2, 5}) {
        Team team(n);
        for (int lowest = 0; lowest < n; ++lowest) {
            std::atomic<int> done{0};
            std::string caught;
            try {
                team.run([&](int t) {
                    ++done;
                    if (t >= lowest)
                        throw std::runtime_error(std::to_string(t));
                });
            } catch (const std::runtime_error &error) {
                caught = error.what();
            }
            CHECK_EQ(caught, std::to_string(lowest));
            CHECK_EQ(done, n); // the others were not held up
            team.run([&](int) { ++done; });
            CHECK_EQ(done, 2 * n);
        }
    }
}

// By themselves: the mode of a team's maker is not what its phases need.
TEST(workers_flush_subnormals) {
#if defined(__SSE2__)
    Team team(4);
    std::atomic<int> flushed{0};
    team.run([&](int t) { flushed += t > 0 && (_mm_getcsr() & 0x8040U) == 0x8040U ? 1 : 0; });
    CHECK_EQ(flushed, 3);
#endif
}

// Where workers start is chosen; where they may run is not.
TEST(workers_may_run_wherever_their_maker_may) {
#if defined(__linux__)
    const auto allowed = [] {
        cpu_set_t set;
        CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
        return set;
    };
    const cpu_set_t all = allowed();
    cpu_set_t one = all;
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) > 1; ++cpu)
        CPU_CLR(cpu, &one);
    for (const cpu_set_t &makers : {all, one}) {
        CHECK_EQ(sched_setaffinity(0, sizeof makers, &makers), 0);
        Team team(4);
        CHECK_EQ(team.size(), 4);
        std::atomic<int> same{0};
        team.run([&](int) {
            const cpu_set_t own = allowed();
            same += CPU_EQUAL(&own, &makers) ? 1 : 0;
        });
        CHECK_EQ(same, 4);
    }
    CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
#endif
}

TEST(teams_come_and_go) {
    for (int i = 0; i < 200; ++i) {
        Team idle(3); // never asked to do anything
        Team team(3);
        std::atomic<int> done{0};
        team.run([&](int) { ++done; });
        CHECK_EQ(done, 3);
    }
}

TEST(shares_lie_side_by_side_in_whole_groups) {
    for (Index n = 0; n < 300; ++n)
        for (const int threads : {1, 2, 3, 7, 64}) {
            Index end = 0;
            for (int t = 0; t < threads; ++t) {
                const Share share = Share::equal(t, threads);
                CHECK_EQ(share.first(n, 8), end);
                end = share.last(n, 8);
                CHECK(end % 8 == 0 || end == n);
                CHECK(end - share.first(n, 8) < n / threads + 16); // evenly
            }
            CHECK_EQ(end, n);
        }
}

// One that takes five times as long for the same work; waking late makes both alike, but not equal.
TEST(a_slow_thread_gets_less) {
    Team team(2);
    CHECK_EQ(team.share(0).end, 0.5);
    const auto phases = [&](double factor) {
        for (int i = 0; i < 25; ++i) {
            team.run_paced([&](int t) {
                const Share share = team.share(t);
                const double part = share.end - share.begin;
                std::this_thread::sleep_for(part * (t == 0 ? factor : 1) *
                                            std::chrono::milliseconds(12));
                return part;
            });
            CHECK_EQ(team.share(0).begin, 0);
            CHECK_EQ(team.share(0).end, team.share(1).begin);
            CHECK_EQ(team.share(1).end, 1);
        }
        return team.share(0).end;
    };
    const double slow = phases(5);
    CHECK(slow < 0.45);
    CHECK(phases(1) > slow);
    for (int i = 0; i < 100; ++i)
        team.run_paced(
            [&](int t) { return t == 0 ? 1.0 : 0.0; }); // who is idle is given some again
    CHECK(std::abs(team.share(0).end - 0.5) < 1e-3);
}
