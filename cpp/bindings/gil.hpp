// Releasing and taking the GIL, safe at the end of the process: a daemon thread that asks for the
// GIL of an interpreter that is going away never gets it. CPython before 3.14 ends such a thread by
// unwinding its stack, which no C++ destructor survives; here it sleeps until the process is gone,
// as it does from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cxxabi.h>
#include <thread>
#include <utility>

namespace deltarule::bindings {

[[noreturn]] inline void sleep_for_ever() {
    for (;;)
        std::this_thread::sleep_for(std::chrono::hours(1));
}

// What f returns; a thread that CPython ends in f sleeps.
template <class F> auto unless_ended(F &&f) {
#if defined(__GLIBCXX__)
    try {
        return std::forward<F>(f)();
    } catch (abi::__forced_unwind &) {
        sleep_for_ever();
    }
#else
    return std::forward<F>(f)();
#endif
}

// Without the GIL for a scope, and with it again between take() and give().
class ReleaseGil {
  public:
    ReleaseGil() { give(); }
    ~ReleaseGil() { take(); }
    ReleaseGil(const ReleaseGil &) = delete;
    ReleaseGil &operator=(const ReleaseGil &) = delete;

    void give() { state_ = PyEval_SaveThread(); }
    void take() {
        unless_ended([this] { PyEval_RestoreThread(state_); });
    }

  private:
    PyThreadState *state_ = nullptr;
};

// With the GIL for a scope, whether or not this thread has it.
class TakeGil {
  public:
    TakeGil() : state_(unless_ended([] { return PyGILState_Ensure(); })) {}
    ~TakeGil() { PyGILState_Release(state_); }
    TakeGil(const TakeGil &) = delete;
    TakeGil &operator=(const TakeGil &) = delete;

  private:
    PyGILState_STATE state_;
};

} // namespace deltarule::bindings
