// Releasing and taking the GIL, safe at the end of the process: a daemon thread that asks for the
// GIL of an interpreter that is going away never gets it. CPython before 3.14 ends such a thread by
// unwinding its stack, which no C++ destructor survives; here it sleeps until the process is gone,
// as it does from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cxxabi.h>
#include <thread>

namespace deltarule::bindings {

[[noreturn]] inline void sleep_for_ever() {
    for (;;)
        std::this_thread::sleep_for(std::chrono::hours(1));
}

// Calls take(), which waits for the GIL.
template <class F> auto wait_for_gil(F &&take) {
#if defined(__GLIBCXX__)
    try {
        return take();
    } catch (abi::__forced_unwind &) {
        sleep_for_ever();
    }
#else
    return take();
#endif
}

// Without the GIL for a scope.
class ReleaseGil {
  public:
    ReleaseGil() : state_(PyEval_SaveThread()) {}
    ~ReleaseGil() {
        wait_for_gil([this] { PyEval_RestoreThread(state_); });
    }
    ReleaseGil(const ReleaseGil &) = delete;
    ReleaseGil &operator=(const ReleaseGil &) = delete;

  private:
    PyThreadState *state_;
};

// With the GIL again for a scope within.
class AcquireGil {
  public:
    AcquireGil() : state_(wait_for_gil([] { return PyGILState_Ensure(); })) {}
    ~AcquireGil() { PyGILState_Release(state_); }
    AcquireGil(const AcquireGil &) = delete;
    AcquireGil &operator=(const AcquireGil &) = delete;

  private:
    PyGILState_STATE state_;
};

} // namespace deltarule::bindings
