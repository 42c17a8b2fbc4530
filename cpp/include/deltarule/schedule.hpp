// Learning rates that change: a pure function of the step, and what a plateau remembers.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

namespace deltarule {

enum class ScheduleKind {
    constant,
    sampled, // the caller gives the rate of each epoch
    step_decay,
    exponential,
    inverse_scaling,
    cosine,
    one_cycle,
    cos_log4,
    plateau
};

// How the learning rate follows from the optimiser's own; the equations are in schedule.cpp.
struct ScheduleSpec {
    ScheduleKind kind = ScheduleKind::constant;
    double factor = 0.1;            // step_decay, exponential, plateau
    std::int64_t every = 1;         // step_decay, exponential: steps
    double power = 0.5;             // inverse_scaling
    std::int64_t steps = 0;         // of the last three; 0: of the whole planned run
    double final_rate = 0;          // cosine
    std::int64_t restarts = 0;      // cosine
    double t_mult = 1;              // cosine: a cycle's length over that before it
    double pct_start = 0.3;         // one_cycle: the rising part
    double div_factor = 25;         // one_cycle: the peak over the first rate
    double final_div_factor = 1e4;  // one_cycle: the first rate over the last
    std::int64_t patience = 10;     // plateau: epochs
    double tol = 0, minimum = 0;    // plateau
    std::int64_t warm_up_steps = 0; // before any of them
    double warm_up_start = 0;

    bool is_constant() const { return kind == ScheduleKind::constant && warm_up_steps == 0; }
    bool needs_horizon() const {
        const bool has_end = kind == ScheduleKind::cosine || kind == ScheduleKind::one_cycle ||
                             kind == ScheduleKind::cos_log4;
        return has_end && steps == 0;
    }
};

// Throws std::invalid_argument for an unknown name.
ScheduleKind schedule_kind(std::string_view name);
std::string_view schedule_name(ScheduleKind kind);

// What ReduceOnPlateau knows of the finished epochs.
struct PlateauState {
    double best = std::numeric_limits<double>::infinity(); // the lowest loss so far
    std::int64_t epochs_since_best = 0;                    // or since the last reduction
    std::int64_t reductions = 0;

    void judge(const ScheduleSpec &spec, double loss);
};

// The rate of step 0, 1, ... of a run of `horizon` steps in all; NaN if it needs the horizon and
// that is NaN. `rate` is the optimiser's.
double learning_rate(const ScheduleSpec &spec, double rate, std::int64_t step, double horizon,
                     std::int64_t reductions);

} // namespace deltarule
