// The threads of one call: started when a call has enough work for them, gone when it returns. So
// nothing spins between calls, and a process may fork.
#pragma once

#include "deltarule/function_ref.hpp"

#include <atomic>
#include <cstddef>
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

  private:
    void work(int t);
    void perform(int t);

    std::vector<std::thread> threads_;
    std::vector<std::exception_ptr> failures_;
    FunctionRef<void(int)> task_;           // empty: time to go
    alignas(64) std::atomic<int> phase_{0}; // counts phases; workers wait for it to change
    alignas(64) std::atomic<int> busy_{0};  // workers still in the phase
};

// Where the columns of thread t of n begin, when `columns` are shared out in whole tiles.
std::ptrdiff_t share_of_columns(std::ptrdiff_t columns, int t, int n);

} // namespace deltarule
