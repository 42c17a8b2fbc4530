// The threads of one call: started when a call has enough work for them, gone when it returns. So
// nothing spins between calls, and a process may fork.
#pragma once

#include "deltarule/function_ref.hpp"
#include "deltarule/share.hpp"

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace deltarule {

class Team {
  public:
    // The caller and n_threads - 1 more, or as many as the system grants.
    explicit Team(int n_threads);
    ~Team();
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    int size() const { return static_cast<int>(threads_.size()) + 1; }

    // A phase: task(t) for every t in [0, size()), t = 0 on the calling thread; returns when all
    // are done. A task that throws does not hold up the others; what the lowest t threw is thrown
    // here.
    void run(FunctionRef<void(int)> task);

    // What thread t had better take of work that can be cut anywhere: in proportion to how quick it
    // was in the phases of run_paced. Changes only there. Processors differ, and one that others
    // use too may be half as quick for seconds.
    Share share(int t) const;
    // A phase whose task returns how much of its work it was, 0 to 1.
    void run_paced(FunctionRef<double(int)> task);

  private:
    struct alignas(64) Pace {         // of one thread, in a cache line of its own
        double part = 1;              // of all the work
        double work = 0, seconds = 0; // in the last phase
    };
    void adapt();
    void work(int t);
    void perform(int t);

    std::vector<std::thread> threads_;
    std::vector<std::exception_ptr> failures_;
    std::vector<Pace> paces_;               // empty with one thread
    FunctionRef<void(int)> task_;           // empty: time to go
    alignas(64) std::atomic<int> phase_{0}; // counts phases; workers wait for it to change
    alignas(64) std::atomic<int> busy_{0};  // workers still in the phase
};

} // namespace deltarule
