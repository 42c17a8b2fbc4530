// The whole test framework: TEST(name) { ... } registers a case, CHECK and CHECK_EQ leave it on
// failure. It owns main (the exit status is the number of failures): include it once a program.
#pragma once

#include <iostream>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace check {
struct Case {
    const char *name;
    void (*run)();
};
inline std::vector<Case> cases;

[[noreturn]] inline void fail(const char *file, int line, const std::ostringstream &text) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + text.str());
}
} // namespace check

#define CHECK_OR_SAY(condition, text)                                                              \
    (condition) ? void() : check::fail(__FILE__, __LINE__, std::ostringstream() << text)
#define CHECK(condition) CHECK_OR_SAY(condition, #condition)
#define CHECK_EQ(a, b) CHECK_OR_SAY((a) == (b), #a " == " #b ": " << (a) << " and " << (b))
#define TEST(name)                                                                                 \
    static void name();                                                                            \
    static const std::size_t name##_case = (check::cases.push_back({#name, name}), 0);             \
    static void name()

int main() {
    int n_failures = 0;
    for (const auto &[name, run] : check::cases)
        try {
            run();
        } catch (const std::exception &error) {
            std::cerr << "FAILED " << name << ": " << error.what() << '\n', ++n_failures;
        }
    return n_failures;
}
