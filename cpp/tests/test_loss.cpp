// Losses and their gradients against long double; the same bits for a column wherever it stands and
// however many there are; the ends of the range.
#include "deltarule/loss.hpp"

#include "check.hpp"
#include "values.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace deltarule;
using check::kInfinity;
using check::kNan;
using check::same_bits;

namespace {

using Real = long double;

struct Case {
    LossSpec loss;
    ActivationKind output;
    bool class_number = false;
};
const std::vector<Case> kElementWise = {
    {{LossKind::mse, 1}, ActivationKind::identity},
    {{LossKind::mae, 1}, ActivationKind::identity},
    {{LossKind::huber, 0.5}, ActivationKind::identity},
    {{LossKind::binary_cross_entropy, 1}, ActivationKind::sigmoid},
    {{LossKind::poisson, 1}, ActivationKind::exp},
    {{LossKind::poisson_deviance, 1}, ActivationKind::exp},
    {{LossKind::log_cosh}, ActivationKind::tanh},
    {{.kind = LossKind::quantile, .quantiles = {0.3}}, ActivationKind::identity},
    {{LossKind::gamma}, ActivationKind::exp},
    {{LossKind::hinge}, ActivationKind::identity},
    {{.kind = LossKind::hinge, .squared = true}, ActivationKind::identity},
    {{.kind = LossKind::focal, .gamma = 1.5, .alpha = {0.25}}, ActivationKind::sigmoid},
    {{.kind = LossKind::focal, .gamma = 0}, ActivationKind::sigmoid},
    {{.kind = LossKind::binary_cross_entropy, .label_smoothing = 0.2}, ActivationKind::identity},
};
// Sums over classes, with class numbers and with shares.
const std::vector<Case> kOfClasses = {
    {{LossKind::cross_entropy, 1}, ActivationKind::softmax},
    {{.kind = LossKind::cross_entropy, .label_smoothing = 0.3}, ActivationKind::softmax},
    {{.kind = LossKind::focal, .gamma = 2}, ActivationKind::softmax},
    {{.kind = LossKind::focal, .gamma = 0.5}, ActivationKind::softmax},
};
const Case kClassNumber = {{LossKind::cross_entropy, 1}, ActivationKind::softmax, true};
const Case kClassShares = {{LossKind::cross_entropy, 1}, ActivationKind::softmax};

// Every loss with every width that it accepts.
template <class F> void each_case(F &&f) {
    for (const Index rows : {1, 2, 3, 4, 7, 10, 15, 16, 17, 31, 32, 33, 40}) {
        for (const Case &c : kElementWise)
            f(c, rows);
        if (rows % 2 == 0)
            f({{LossKind::gaussian_nll}, ActivationKind::identity}, rows);
        if (rows == 1)
            continue;
        Case c{{.kind = LossKind::quantile, .quantiles = {}}, ActivationKind::identity};
        for (Index i = 0; i < rows; ++i)
            c.loss.quantiles.push_back(double(i + 1) / double(rows + 1));
        f(c, rows);
        for (Case classes : kOfClasses)
            for (const bool class_number : {false, true}) {
                classes.class_number = class_number;
                if (classes.loss.gamma == 0.5) // with weights of the classes
                    for (Index i = 0; i < rows; ++i)
                        classes.loss.alpha.assign(static_cast<std::size_t>(rows), 0.75);
                f(classes, rows);
            }
    }
}

// Columns with NaN where no value is; what a loss makes of them.
template <class T> struct Problem {
    Case c;
    Index rows, n, ld = padded(rows);
    Buffer<T> out, y, w, d;
    std::vector<double> losses;

    Problem(const Case &form, Index m, Index columns)
        : c(form), rows(m), n(columns), out(ld * n), y(ld * n), w(n), d(ld * n),
          losses(static_cast<std::size_t>(n)) {
        std::fill_n(out.data(), ld * n, kNan<T>);
        std::fill_n(y.data(), ld * n, kNan<T>);
        std::fill_n(w.data(), n, T(1));
    }
    bool of_classes() const {
        return c.loss.kind == LossKind::cross_entropy || c.output == ActivationKind::softmax;
    }
    Index target_width() const {
        if (c.loss.kind == LossKind::gaussian_nll)
            return rows / 2;
        return c.class_number || c.loss.quantiles.size() > 1 ? 1 : rows;
    }
    Columns<T> gradient() { return {d.data(), ld}; }

    void fill(std::uint64_t seed, T size) {
        check::Random random(seed);
        for (Index j = 0; j < n; ++j) {
            T mass = 0;
            for (Index i = 0; i < rows; ++i) {
                out[j * ld + i] = size * random.uniform<T>();
                y[j * ld + i] = static_cast<T>(random.unit());
                if (c.loss.kind == LossKind::hinge)
                    y[j * ld + i] = y[j * ld + i] < T(0.5) ? T(-1) : T(1);
                mass += y[j * ld + i];
            }
            if (c.class_number)
                y[j * ld] = static_cast<T>(random.below(rows));
            else if (of_classes() && j % 3 == 0) // else Σ y is not 1
                for (Index i = 0; i < rows; ++i)
                    y[j * ld + i] /= mass;
            w[j] = static_cast<T>(j % 5) / 2;
        }
    }
    // Column `from` of another problem becomes column j.
    void take(const Problem &other, Index from, Index j) {
        std::copy_n(other.out.data() + from * ld, rows, out.data() + j * ld);
        std::copy_n(other.y.data() + from * ld, target_width(), y.data() + j * ld);
        w[j] = other.w[from];
    }
    void run(bool weighted, double total_weight, Columns<T> gradient) {
        const Loss loss(c.loss, c.output, rows, target_width());
        loss.operator()<T>(n, {out.data(), ld}, {y.data(), ld}, weighted ? w.data() : nullptr,
                           total_weight, losses.data(), gradient);
    }
};

struct Exact {
    Real loss;
    std::vector<Real> gradient;
    Real size; // of the terms that the loss is the sum of
    Real gradient_size = 0;
};

Exact exact_focal(const LossSpec &spec, Real z, Real y) {
    const Real g = spec.gamma, alpha = spec.alpha.empty() ? 1 : spec.alpha[0];
    const Real of1 = alpha * y, of0 = (spec.alpha.empty() ? 1 : 1 - alpha) * (1 - y);
    const Real p = 1 / (1 + std::exp(-z)), q = 1 / (1 + std::exp(z));
    const Real s1 = -std::log(p), s0 = -std::log(q);
    return {of1 * std::pow(q, g) * s1 + of0 * std::pow(p, g) * s0,
            {of0 * std::pow(p, g) * (g * q * s0 + p) - of1 * std::pow(q, g) * (g * p * s1 + q)},
            std::abs(z) + 1};
}

// One element: ℓ, ∂ℓ/∂out and the size of the terms.
Exact exact_element(const LossSpec &spec, Real a, Real y) {
    const Real error = a - y, delta = spec.delta;
    switch (spec.kind) {
    case LossKind::mse:
        return {error * error, {2 * error}, a * a + y * y + std::abs(a) + y};
    case LossKind::mae:
        return {std::abs(error), {error > 0 ? 1.0L : -1.0L}, std::abs(a) + y};
    case LossKind::huber:
        return {std::abs(error) <= delta ? error * error / 2
                                         : delta * (std::abs(error) - delta / 2),
                {std::clamp(error, -delta, delta)},
                std::abs(a) + y};
    case LossKind::log_cosh:
        return {std::abs(error) + std::log1p(std::exp(-2 * std::abs(error))) - std::log(2.0L),
                {std::tanh(error)},
                std::abs(a) + y};
    case LossKind::quantile: {
        const Real q = spec.quantiles[0];
        return {std::max(-q * error, (1 - q) * error),
                {error < 0 ? -q : 1 - q},
                std::abs(a) + std::abs(y)};
    }
    case LossKind::gamma:
        return {a + y * std::exp(-a), {1 - y * std::exp(-a)}, 1 + std::abs(a) + y * std::exp(-a)};
    case LossKind::hinge: {
        const Real margin = std::max(0.0L, 1 - y * a);
        if (spec.squared)
            return {margin * margin, {-2 * y * margin}, 1 + a * a};
        return {margin, {margin > 0 ? -y : 0.0L}, 1 + std::abs(a)};
    }
    case LossKind::focal:
        return exact_focal(spec, a, y);
    case LossKind::binary_cross_entropy:
        y = y * (1 - static_cast<Real>(spec.label_smoothing)) + spec.label_smoothing / 2.0L;
        return {std::max(a, 0.0L) - y * a + std::log1p(std::exp(-std::abs(a))),
                {1 / (1 + std::exp(-a)) - y},
                std::abs(a) + 1};
    case LossKind::poisson:
        return {std::exp(a) - y * a, {std::exp(a) - y}, std::exp(a) + std::abs(a) + 1};
    default: {
        const Real constant = y > 0 ? y * std::log(y) - y : 0;
        return {std::exp(a) - y * a + constant, {std::exp(a) - y}, std::exp(a) + std::abs(a) + 1};
    }
    }
}

template <class T, class Share, class MinusLog>
Exact exact_focal_classes(const Problem<T> &p, Index, Share share, MinusLog minus_log) {
    const Real g = p.c.loss.gamma, alpha = p.c.loss.alpha.empty() ? 1 : 0.75L;
    Exact exact{0, {}, 1};
    Real total = 0;
    std::vector<Real> pull(static_cast<std::size_t>(p.rows));
    for (Index i = 0; i < p.rows; ++i) {
        const Real l = minus_log(i), rest = -std::expm1(-l), part = alpha * share(i);
        exact.loss += part * std::pow(rest, g) * l;
        const Real h = part * std::pow(rest, g) * (1 + g * std::exp(-l) * l / rest);
        pull[static_cast<std::size_t>(i)] = part == 0 ? 0 : h;
        total += pull[static_cast<std::size_t>(i)];
    }
    for (Index i = 0; i < p.rows; ++i)
        exact.gradient.push_back(std::exp(-minus_log(i)) * total -
                                 pull[static_cast<std::size_t>(i)]);
    exact.size = std::max(1.0L, exact.loss);
    exact.gradient_size = std::max(1.0L, total);
    return exact;
}

// Half of the outputs are means, half logarithms of variances.
template <class T> Exact exact_gaussian(const Problem<T> &p, Index j) {
    const T *out = p.out.data() + j * p.ld, *y = p.y.data() + j * p.ld;
    const Index m = p.rows / 2;
    Exact all{0, {}, 1};
    std::vector<Real> log_variances;
    for (Index i = 0; i < m; ++i) {
        const Real error = Real(out[i]) - y[i], s = out[m + i], precision = std::exp(-s);
        const Real square = error * error * precision, size = static_cast<Real>(m);
        all.loss += (s + square) / 2 / size;
        all.gradient.push_back(error * precision / size);
        log_variances.push_back((1 - square) / 2 / size);
        const Real terms = std::max(Real(std::abs(out[i])), 1.0L);
        all.size =
            std::max({all.size, std::abs(s) + square, terms * precision * (1 + std::abs(error))});
    }
    all.gradient.insert(all.gradient.end(), log_variances.begin(), log_variances.end());
    all.gradient_size = all.size / static_cast<Real>(m);
    return all;
}

template <class T> Exact exact_classes(const Problem<T> &p, Index j) {
    const T *z = p.out.data() + j * p.ld, *y = p.y.data() + j * p.ld;
    const Real top = *std::max_element(z, z + p.rows);
    Real sum = 0, mass = 0;
    Exact exact{0, {}, 1};
    for (Index i = 0; i < p.rows; ++i)
        sum += std::exp(z[i] - top);
    const auto share = [&](Index i) {
        const Real own = p.c.class_number ? Real(static_cast<Index>(y[0]) == i) : Real(y[i]);
        const Real smoothing = p.c.loss.label_smoothing;
        return own * (1 - smoothing) + smoothing / static_cast<Real>(p.rows);
    };
    if (p.c.loss.kind == LossKind::focal)
        return exact_focal_classes(p, j, share,
                                   [&](Index i) { return std::log(sum) - (z[i] - top); });
    for (Index i = 0; i < p.rows; ++i) {
        mass += share(i);
        if (share(i) != 0)
            exact.loss += share(i) * (std::log(sum) - (z[i] - top));
    }
    for (Index i = 0; i < p.rows; ++i)
        exact.gradient.push_back(std::exp(z[i] - top) / sum * mass - share(i));
    exact.size = std::max({1.0L, exact.loss, mass});
    exact.gradient_size = std::max(1.0L, mass);
    return exact;
}

template <class T> Exact exact_column(const Problem<T> &p, Index j) {
    if (p.of_classes())
        return exact_classes(p, j);
    if (p.c.loss.kind == LossKind::gaussian_nll)
        return exact_gaussian(p, j);
    Exact all{0, {}, 0};
    const bool several = p.c.loss.quantiles.size() > 1;
    for (Index i = 0; i < p.rows; ++i) {
        LossSpec spec = p.c.loss;
        if (several)
            spec.quantiles = {spec.quantiles[static_cast<std::size_t>(i)]};
        const Exact one =
            exact_element(spec, p.out[j * p.ld + i], p.y[j * p.ld + (several ? 0 : i)]);
        all.loss += one.loss / static_cast<Real>(p.rows);
        all.gradient.push_back(one.gradient[0] / static_cast<Real>(p.rows));
        all.size = std::max(all.size, one.size);
    }
    all.gradient_size = all.size / static_cast<Real>(p.rows);
    return all;
}

// Functions and quotients are right within a few eps; K terms add √K at most.
template <class T> void check_column(const Problem<T> &p, Index j, Real w, Real total_weight) {
    const Real terms = 4 + std::sqrt(static_cast<Real>(p.rows));
    const Real allowed = terms * std::numeric_limits<T>::epsilon() * w;
    const Exact exact = exact_column(p, j);
    const Real error = std::abs(p.losses[static_cast<std::size_t>(j)] - w * exact.loss);
    CHECK_OR_SAY(error <= allowed * exact.size,
                 loss_name(p.c.loss.kind) << " of " << p.rows << ": "
                                          << terms * error / (allowed * exact.size) << " eps");
    for (Index i = 0; i < p.rows; ++i) {
        const Real slope = exact.gradient[static_cast<std::size_t>(i)] / total_weight;
        const Real size = exact.gradient_size / total_weight;
        const Real gap = std::abs(p.d[j * p.ld + i] - w * slope);
        CHECK_OR_SAY(gap <= allowed * size, loss_name(p.c.loss.kind)
                                                << "' of " << p.rows << ": "
                                                << terms * gap / (allowed * size) << " eps");
    }
}

template <class F> void each_type(F &&f) {
    f(float());
    f(double());
}

} // namespace

TEST(values_and_gradients) {
    each_type([]<class T>(T) {
        constexpr double kTotal = 11.5;
        each_case([&](const Case &c, Index rows) {
            for (const T size : {T(0.1), T(3), T(20)})
                for (const bool weighted : {false, true}) {
                    Problem<T> p(c, rows, 37);
                    p.fill(1, size);
                    p.run(weighted, kTotal, p.gradient());
                    for (Index j = 0; j < p.n; ++j)
                        check_column(p, j, weighted ? p.w[j] : Real{1}, kTotal);
                }
        });
    });
}

// A column's bits depend neither on its place nor on the number of columns.
TEST(place_does_not_matter) {
    each_type([]<class T>(T) {
        each_case([](const Case &c, Index rows) {
            constexpr Index kAll = 40;
            for (const bool weighted : {false, true}) {
                Problem<T> all(c, rows, kAll);
                all.fill(2, 5);
                all.run(weighted, 7, all.gradient());
                for (Index n = 1; n < kAll; ++n)
                    for (const Index first : {Index{0}, Index{1}, kAll - n}) {
                        Problem<T> some(c, rows, n);
                        for (Index j = 0; j < n; ++j)
                            some.take(all, first + j, j);
                        some.run(weighted, 7, some.gradient());
                        CHECK(same_bits(some.losses.data(), all.losses.data() + first, n));
                        for (Index j = 0; j < n; ++j)
                            CHECK(same_bits(some.d.data() + j * some.ld,
                                            all.d.data() + (first + j) * all.ld, rows));
                    }
            }
        });
    });
}

TEST(losses_without_a_gradient_are_the_same) {
    each_type([]<class T>(T) {
        each_case([](const Case &c, Index rows) {
            Problem<T> p(c, rows, 21);
            p.fill(3, 4);
            p.run(true, 3, p.gradient());
            const std::vector<double> expected = p.losses;
            p.run(true, 3, {});
            CHECK(p.losses == expected);
        });
    });
}

// Only the columns and losses of the batch are written.
TEST(neighbours_are_not_touched) {
    each_type([]<class T>(T) {
        each_case([](const Case &c, Index rows) {
            for (const Index n : {1, 5, 17}) {
                Problem<T> p(c, rows, n + 1);
                p.fill(4, 4);
                std::fill_n(p.d.data(), p.ld * (n + 1), T(7));
                p.losses.back() = 7;
                p.n = n;
                p.run(false, 3, p.gradient());
                CHECK(p.losses.back() == 7);
                for (Index i = 0; i < rows; ++i)
                    CHECK(p.d[n * p.ld + i] == 7);
            }
        });
    });
}

// Divergence must be noticed: a NaN anywhere is in the loss of its column, and in no other.
TEST(nan_is_kept) {
    each_type([]<class T>(T) {
        each_case([](const Case &c, Index rows) {
            for (Index place = 0; place < rows; ++place)
                for (const T bad : {kNan<T>, -kNan<T>}) {
                    Problem<T> p(c, rows, 18);
                    p.fill(5, 3);
                    const Index column = place % p.n;
                    p.out[column * p.ld + place] = bad;
                    p.run(false, 18, p.gradient());
                    for (Index j = 0; j < p.n; ++j)
                        CHECK_OR_SAY(std::isnan(p.losses[static_cast<std::size_t>(j)]) ==
                                         (j == column),
                                     loss_name(c.loss.kind) << " of " << rows << ", NaN at "
                                                            << place << ", column " << j);
                    if (c.loss.kind == LossKind::cross_entropy)
                        for (Index i = 0; i < rows; ++i)
                            CHECK(std::isnan(p.d[column * p.ld + i]));
                }
        });
    });
}

TEST(weight_zero_costs_nothing) {
    each_type([]<class T>(T) {
        each_case([](const Case &c, Index rows) {
            Problem<T> p(c, rows, 5);
            p.fill(6, 3);
            p.w[1] = 0;
            p.out[p.ld] = kInfinity<T>;
            p.run(true, 3, {});
            CHECK(p.losses[1] == 0);
            CHECK(p.losses[2] != 0 || c.loss.kind == LossKind::hinge);
        });
    });
}

TEST(cross_entropy_of_huge_logits) {
    each_type([]<class T>(T) {
        for (const T size : {T(1e4), T(1e30)})
            for (const Index rows : {2, 3, 10, 16, 17, 40})
                for (const bool class_number : {false, true}) {
                    Problem<T> p(class_number ? kClassNumber : kClassShares, rows, 2);
                    for (Index i = 0; i < p.ld; ++i) {
                        const T z = i == rows - 1 ? size : -size, y = i == rows - 1;
                        p.out[i] = p.out[p.ld + i] = z;
                        p.y[i] = y;
                        p.y[p.ld + i] = i == 0;
                    }
                    if (class_number)
                        p.y[0] = static_cast<T>(rows - 1), p.y[p.ld] = 0;
                    p.run(false, 1, p.gradient());
                    const double gap = 2 * static_cast<double>(size);
                    CHECK(p.losses[0] == 0 && std::abs(p.losses[1] / gap - 1) < 1e-6);
                    for (Index i = 0; i < rows; ++i) {
                        const T likely = i == rows - 1;
                        CHECK(p.d[i] == 0);
                        CHECK(p.d[p.ld + i] == likely - T(i == 0));
                    }
                }
    });
}

// A class of no share may be impossible; a class with one may not.
TEST(cross_entropy_of_infinite_logits) {
    each_type([]<class T>(T) {
        for (const bool class_number : {false, true}) {
            Problem<T> p(class_number ? kClassNumber : kClassShares, 3, 3);
            for (Index j = 0; j < 3; ++j)
                for (Index i = 0; i < 3; ++i)
                    p.out[j * p.ld + i] = 1, p.y[j * p.ld + i] = !class_number && i == j;
            for (Index j = 0; j < 3; ++j)
                if (class_number)
                    p.y[j * p.ld] = static_cast<T>(j);
            p.out[1] = -kInfinity<T>;        // of share 0
            p.out[p.ld + 1] = -kInfinity<T>; // of share 1
            p.out[2 * p.ld + 1] = kInfinity<T>;
            p.run(false, 1, p.gradient());
            CHECK(std::abs(p.losses[0] - std::log(2.0)) < 1e-6);
            CHECK(p.d[0] == T(-0.5) && p.d[1] == 0 && p.d[2] == T(0.5));
            CHECK(p.losses[1] == kInfinity<double>);
            CHECK(!std::isfinite(p.losses[2]));
        }
    });
}

// Far logits lose neither the loss nor the gradient.
TEST(binary_cross_entropy_at_the_ends) {
    each_type([]<class T>(T) {
        for (const Index rows : {1, 5})
            for (const T z : {T(1e4), T(1e30)}) {
                Problem<T> p(kElementWise[3], rows, 2);
                std::fill_n(p.out.data(), p.ld, z);
                std::fill_n(p.out.data() + p.ld, p.ld, -z);
                std::fill_n(p.y.data(), 2 * p.ld, T(1));
                p.run(false, 1, p.gradient());
                CHECK(p.losses[0] == 0 && p.d[0] == 0);
                CHECK(std::abs(p.losses[1] / static_cast<double>(z) - 1) < 1e-6);
                CHECK(std::abs(p.d[p.ld] * static_cast<T>(rows) + 1) < T(1e-6));
            }
    });
}

// The small loss of a confident right answer keeps its digits.
TEST(binary_cross_entropy_of_right_answers) {
    each_type([]<class T>(T) {
        constexpr Real kEps = std::numeric_limits<T>::epsilon();
        for (const T z : {T(2), T(9), T(20), T(50)})
            for (const T y : {T(0), T(1)}) {
                Problem<T> p(kElementWise[3], 1, 1);
                p.out[0] = y == 1 ? z : -z, p.y[0] = y;
                p.run(false, 1, {});
                const Real exact = std::log1p(std::exp(-static_cast<Real>(z)));
                CHECK(std::abs(p.losses[0] - exact) <= 6 * kEps * exact);
            }
    });
}
