// The equations of the schedules. Below η₀ is the optimiser's rate, s the step, T the length of the
// schedule and t = s / T, at most 1.
#include "deltarule/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

namespace deltarule {

namespace {

struct Name {
    std::string_view name;
    ScheduleKind kind;
};
constexpr Name kNames[] = {
    {"constant", ScheduleKind::constant},
    {"sampled", ScheduleKind::sampled},
    {"step_decay", ScheduleKind::step_decay},
    {"exponential", ScheduleKind::exponential},
    {"inverse_scaling", ScheduleKind::inverse_scaling},
    {"cosine", ScheduleKind::cosine},
    {"one_cycle", ScheduleKind::one_cycle},
    {"cos_log4", ScheduleKind::cos_log4},
    {"reduce_on_plateau", ScheduleKind::plateau},
};

// s / T in [0, 1]; NaN if T is, but for s = 0.
double fraction(double s, double T) { return s <= 0 ? 0 : s >= T ? 1 : s / T; }

// Half a cosine from `first` at t = 0 to `last` at t = 1, both exactly.
double half_cosine(double first, double last, double t) {
    const double c = std::cos(std::numbers::pi * t);
    return 0.5 * ((1 + c) * first + (1 - c) * last);
}

// Cycle k = 0, ..., n of SGDR ends at T (1 + m + ... + m^k) / (1 + m + ... + m^n), rounded to a
// whole step. The powers are counted from the last cycle down, where they cannot overflow.
double cosine(const ScheduleSpec &spec, double rate, double s, double T) {
    if (s >= T)
        return spec.final_rate;
    const auto n = static_cast<double>(spec.restarts);
    double all = 0, until = 0, start = 0, end = n == 0 ? T : 0;
    for (double k = 0; k <= n; ++k)
        all += std::pow(spec.t_mult, k - n);
    for (double k = 0; k <= n && end <= s; ++k) {
        until += std::pow(spec.t_mult, k - n);
        start = end;
        end = k == n ? T : std::round(T * (until / all));
    }
    return half_cosine(rate, spec.final_rate, fraction(s - start, end - start));
}

// From η₀/d up to η₀ in the first part p of the steps, then down to η₀/(d f).
double one_cycle(const ScheduleSpec &spec, double peak, double s, double T) {
    const double first = peak / spec.div_factor, last = first / spec.final_div_factor;
    const double t = fraction(s, T), p = spec.pct_start;
    return t < p ? half_cosine(first, peak, t / p) : half_cosine(peak, last, (t - p) / (1 - p));
}

double after_warm_up(const ScheduleSpec &spec, double rate, std::int64_t step, double horizon,
                     std::int64_t reductions) {
    const auto s = static_cast<double>(step), every = static_cast<double>(spec.every);
    const double T = spec.steps > 0 ? static_cast<double>(spec.steps) : horizon;
    switch (spec.kind) {
    case ScheduleKind::step_decay:
        return rate * std::pow(spec.factor, static_cast<double>(step / spec.every));
    case ScheduleKind::exponential:
        return rate * std::pow(spec.factor, s / every);
    case ScheduleKind::inverse_scaling:
        return rate / std::pow(1 + s, spec.power);
    case ScheduleKind::cosine:
        return cosine(spec, rate, s, T);
    case ScheduleKind::one_cycle:
        return one_cycle(spec, rate, s, T);
    case ScheduleKind::cos_log4:
        return rate * 0.5 *
               (1 - std::cos(2 * std::numbers::pi * std::log2(1 + 15 * fraction(s, T))));
    case ScheduleKind::plateau:
        return std::max(spec.minimum,
                        rate * std::pow(spec.factor, static_cast<double>(reductions)));
    case ScheduleKind::constant:
    case ScheduleKind::sampled:
        break;
    }
    return rate;
}

} // namespace

ScheduleKind schedule_kind(std::string_view name) {
    for (const Name &each : kNames)
        if (each.name == name)
            return each.kind;
    throw std::invalid_argument("unknown schedule '" + std::string(name) + "'");
}

std::string_view schedule_name(ScheduleKind kind) {
    return std::find_if(std::begin(kNames), std::end(kNames),
                        [&](const Name &each) { return each.kind == kind; })
        ->name;
}

void PlateauState::judge(const ScheduleSpec &spec, double loss) {
    epochs_since_best = loss < best - spec.tol ? 0 : epochs_since_best + 1;
    if (loss < best)
        best = loss;
    if (epochs_since_best >= spec.patience) {
        ++reductions;
        epochs_since_best = 0;
    }
}

double learning_rate(const ScheduleSpec &spec, double rate, std::int64_t step, double horizon,
                     std::int64_t reductions) {
    const std::int64_t W = spec.warm_up_steps, s = std::max<std::int64_t>(step - W, 0);
    const double left = std::max(horizon - static_cast<double>(W), 1.0); // NaN stays NaN
    const double target = after_warm_up(spec, rate, s, left, reductions);
    if (step >= W)
        return target;
    const double share = static_cast<double>(step) / static_cast<double>(W);
    return spec.warm_up_start + (target - spec.warm_up_start) * share;
}

} // namespace deltarule
