// Activations and their slopes against long double, over the whole range of numbers, with
// subnormals flushed as in the library and without; the same bits at every place of a column.
#include "deltarule/activation.hpp"
#include "deltarule/flush_subnormals.hpp"

#include "check.hpp"
#include "values.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

using namespace deltarule;
using check::kInfinity;
using check::kNan;
using check::same_bits;
using check::ulps;

namespace {

using Real = long double;

struct Function {
    Activation activation;
    Real (*value)(Real z, Real alpha);
    Real (*slope)(Real z, Real alpha);
    // Errors at most: those of Eigen's functions, measured over 4 million numbers on x86-64-v2, v3
    // and v4 and rounded up. Of the value in ulps; of the slope in eps · max(1, |slope|).
    double float_ulps, double_ulps, float_slope, double_slope;
};

Real sigmoid(Real z) { return z < 0 ? std::exp(z) / (1 + std::exp(z)) : 1 / (1 + std::exp(-z)); }
// 1 − σ(z) without cancellation.
Real other_sigmoid(Real z) { return sigmoid(-z); }

// Φ(z), the normal distribution.
Real normal(Real z) { return std::erfc(-z / std::sqrt(2.0L)) / 2; }
constexpr Real kPeak = 0.398942280401432677939946L; // 1 / √(2π)
constexpr Real kSelu = 1.05070098735548049342L, kSeluLow = kSelu * 1.67326324235437728482L;
// tanh(log(1 + eᶻ)), of which 1 is taken where eᶻ overflows.
Real mish_factor(Real z) {
    const Real square = std::exp(2 * z) + 2 * std::exp(z);
    return z > 5000 ? 1 : square / (square + 2);
}

constexpr Real kAlpha = 0.3F; // exact in both types

const std::vector<Function> kFunctions = {
    {{ActivationKind::identity, 0},
     [](Real z, Real) { return z; },
     [](Real, Real) { return 1.0L; },
     0,
     0,
     0,
     0},
    {{ActivationKind::sigmoid, 0},
     [](Real z, Real) { return sigmoid(z); },
     [](Real z, Real) { return sigmoid(z) * other_sigmoid(z); },
     3,
     3,
     1,
     1},
    {{ActivationKind::tanh, 0},
     [](Real z, Real) { return std::tanh(z); },
     [](Real z, Real) { return 4 * sigmoid(2 * z) * other_sigmoid(2 * z); },
     6,
     9,
     6,
     9},
    {{ActivationKind::relu, 0},
     [](Real z, Real) { return z < 0 ? 0 : z; },
     [](Real z, Real) { return z > 0 ? 1.0L : 0.0L; },
     0,
     0,
     0,
     0},
    {{ActivationKind::leaky_relu, static_cast<double>(kAlpha)},
     [](Real z, Real alpha) { return z < 0 ? alpha * z : z; },
     [](Real z, Real alpha) { return z > 0 ? 1 : alpha; },
     0.51,
     0.51,
     0,
     0},
    {{ActivationKind::elu, static_cast<double>(kAlpha)},
     [](Real z, Real alpha) { return z < 0 ? alpha * std::expm1(z) : z; },
     [](Real z, Real alpha) { return z < 0 ? alpha * std::exp(z) : 1; },
     5,
     4,
     2,
     2},
    {{ActivationKind::selu, 0},
     [](Real z, Real) { return z < 0 ? kSeluLow * std::expm1(z) : kSelu * z; },
     [](Real z, Real) { return z < 0 ? kSeluLow * std::exp(z) : kSelu; },
     5,
     4,
     3,
     3},
    {{ActivationKind::gelu, 0},
     [](Real z, Real) { return z * normal(z); },
     [](Real z, Real) { return normal(z) + z * kPeak * std::exp(-z * z / 2); },
     6,
     6,
     3,
     3},
    {{ActivationKind::mish, 0},
     [](Real z, Real) { return z * mish_factor(z); },
     [](Real z, Real) {
         const Real t = mish_factor(z);
         return t + z * sigmoid(z) * (1 - t) * (1 + t);
     },
     5,
     5,
     3,
     3},
    {{ActivationKind::silu, 0},
     [](Real z, Real) { return z * sigmoid(z); },
     [](Real z, Real) { return sigmoid(z) * (1 + z * other_sigmoid(z)); },
     4,
     4,
     9,
     19},
    {{ActivationKind::softplus, 0},
     [](Real z, Real) { return (z > 0 ? z : 0) + std::log1p(std::exp(-std::abs(z))); },
     [](Real z, Real) { return sigmoid(z); },
     5,
     4,
     2,
     2},
    {{ActivationKind::exp, 0},
     [](Real z, Real) { return std::exp(z); },
     [](Real z, Real) { return std::exp(z); },
     2,
     2,
     2,
     2},
};

// Every kind of number: random bits, numbers where functions bend, and the ends.
template <class T> std::vector<T> grid() {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    using Limits = std::numeric_limits<T>;
    std::vector<T> z;
    for (const T x : {T(0),
                      Limits::denorm_min(),
                      Limits::min(),
                      Limits::epsilon(),
                      T(1e-3),
                      T(0.5),
                      T(0.625),
                      T(1),
                      T(2),
                      T(9),
                      T(20),
                      T(87),
                      T(88),
                      T(89),
                      T(103),
                      T(104),
                      T(700),
                      T(708),
                      T(709),
                      T(710),
                      T(745),
                      T(746),
                      T(1e10),
                      std::sqrt(Limits::max()),
                      Limits::max() / 2,
                      Limits::max()})
        z.insert(z.end(), {x, -x, std::nextafter(x, T(0)), std::nextafter(-x, T(0))});
    check::Random random(1);
    for (int i = 0; i < 30'000; ++i) {
        const T any = std::bit_cast<T>(static_cast<Bits>(random.word()));
        z.push_back(std::isfinite(any) ? any : T(0));
        z.push_back(30 * random.uniform<T>());
        z.push_back(random.uniform<T>());
        z.push_back(800 * random.uniform<T>());
    }
    return z;
}

// σ(z) for a long list: as 64 units of many columns.
constexpr Index kUnits = 64;

template <class T> std::vector<T> padded_to_columns(std::vector<T> z) {
    z.resize((z.size() + kUnits - 1) / kUnits * kUnits);
    return z;
}

template <class T> std::vector<T> values(const Activation &activation, std::vector<T> z) {
    std::vector<T> a(z.size());
    activate<T>(activation, kUnits, static_cast<Index>(z.size()) / kUnits, {z.data(), kUnits},
                {a.data(), kUnits});
    return a;
}

// d ⊙ σ'(z)
template <class T>
std::vector<T> times_slope(const Activation &activation, const std::vector<T> &z,
                           const std::vector<T> &a, std::vector<T> d) {
    multiply_by_slope<T>(activation, kUnits, static_cast<Index>(z.size()) / kUnits,
                         {z.data(), kUnits}, {a.data(), kUnits}, {d.data(), kUnits});
    return d;
}

template <class T> void check_function(const Function &f) {
    using Limits = std::numeric_limits<T>;
    const std::vector<T> z = padded_to_columns(grid<T>()), a = values(f.activation, z);
    const std::vector<T> slope = times_slope(f.activation, z, a, std::vector<T>(z.size(), T(1)));
    const auto name = activation_name(f.activation.kind);
    for (std::size_t i = 0; i < z.size(); ++i) {
        // What is flushed to zero is less than the smallest normal number; selu multiplies it by λ
        // α, silu, gelu and mish by z.
        const Real exact = f.value(z[i], kAlpha), bend = f.slope(z[i], kAlpha);
        const double error =
            ulps(a[i], exact, std::max(kSeluLow, std::abs(Real{z[i]})) * Limits::min());
        CHECK_OR_SAY(error <= (sizeof(T) == 4 ? f.float_ulps : f.double_ulps),
                     name << '(' << z[i] << ") = " << a[i] << ", not " << exact << ": " << error
                          << " ulps");
        if (static_cast<T>(bend) > Limits::max()) { // only exp
            CHECK(slope[i] == kInfinity<T>);
        } else if (std::abs(z[i]) > 8 * Limits::min()) { // else it may count as zero, the kink
            const Real gap = std::abs(slope[i] - bend) / std::max(Real{1}, std::abs(bend));
            const Real bound = sizeof(T) == 4 ? f.float_slope : f.double_slope;
            CHECK_OR_SAY(gap <= bound * Limits::epsilon(),
                         name << "'(" << z[i] << ") = " << slope[i] << ", not " << bend << ": "
                              << gap / Limits::epsilon() << " eps");
        }
    }
}

// One column through softmax.
template <class T> std::vector<T> softmax(std::vector<T> z) {
    const auto rows = static_cast<Index>(z.size());
    z.resize(static_cast<std::size_t>(padded(rows)), kNan<T>);
    std::vector<T> a(z.size());
    activate<T>({ActivationKind::softmax, 0}, rows, 1, {z.data(), padded(rows)},
                {a.data(), padded(rows)});
    a.resize(static_cast<std::size_t>(rows));
    return a;
}

} // namespace

TEST(values_and_slopes) {
    for (const Function &f : kFunctions) {
        check_function<float>(f);
        check_function<double>(f);
        const FlushSubnormals flush;
        check_function<float>(f);
        check_function<double>(f);
    }
}

// The slopes above are derivatives of the values above: central differences with step h have an
// error of h² |σ'''| / 6 + eps |σ| / h.
TEST(slopes_are_derivatives) {
    constexpr Real kStep = 1e-5L;
    for (const Function &f : kFunctions)
        for (Real z = -20.005L; z < 20; z += 0.0101L) {
            const Real rise = f.value(z + kStep, kAlpha) - f.value(z - kStep, kAlpha);
            const Real slope = f.slope(z, kAlpha), size = std::max(1.0L, std::abs(slope));
            CHECK_OR_SAY(std::abs(rise / (2 * kStep) - slope) < 1e-10L * size,
                         activation_name(f.activation.kind) << "' at " << z);
        }
}

TEST(nan_and_signs_are_kept) {
    const auto run = []<class T>(T) {
        for (const Function &f : kFunctions) {
            const std::vector<T> z = padded_to_columns<T>({kNan<T>, -kNan<T>, T(-0.0)});
            const std::vector<T> a = values(f.activation, z);
            CHECK_OR_SAY(std::isnan(a[0]) && std::isnan(a[1]), activation_name(f.activation.kind)
                                                                   << " loses NaN");
            CHECK(a[2] == a[3]); // −0 counts as 0
        }
    };
    run(float());
    run(double());
}

// Not above 1, where 1 − a² would be negative.
TEST(saturated_values_stay_in_range) {
    const auto run = []<class T>(T) {
        const std::vector<T> z = padded_to_columns(grid<T>());
        for (const T a : values({ActivationKind::tanh, 0}, z))
            CHECK(std::abs(a) <= 1);
        for (const T a : values({ActivationKind::sigmoid, 0}, z))
            CHECK(a >= 0 && a <= 1);
    };
    run(float());
    run(double());
}

TEST(infinities_have_their_limits) {
    const auto run = []<class T>(T) {
        for (const Function &f : kFunctions) {
            if (f.activation.kind == ActivationKind::silu ||
                f.activation.kind == ActivationKind::mish ||
                f.activation.kind == ActivationKind::gelu) // −∞ · 0
                continue;
            const std::vector<T> z = padded_to_columns<T>({kInfinity<T>, -kInfinity<T>});
            const std::vector<T> a = values(f.activation, z);
            for (std::size_t i = 0; i < 2; ++i)
                CHECK_OR_SAY(ulps(a[i], f.value(z[i], kAlpha)) <= 1,
                             activation_name(f.activation.kind) << " at " << z[i] << ": " << a[i]);
        }
    };
    run(float());
    run(double());
}

// elu with scale 0 is relu.
TEST(parameters_at_their_ends) {
    const auto run = []<class T>(T) {
        const std::vector<T> z = padded_to_columns<T>({-2, -0.5, 0.5, 2, -30});
        for (const ActivationKind kind : {ActivationKind::leaky_relu, ActivationKind::elu}) {
            const std::vector<T> a = values({kind, 0}, z);
            const std::vector<T> slope = times_slope({kind, 0}, z, a, std::vector<T>(z.size(), 1));
            for (std::size_t i = 0; i < 5; ++i) {
                CHECK_EQ(a[i], std::max(z[i], T(0)));
                CHECK_OR_SAY(slope[i] == (z[i] > 0 ? 1 : 0), activation_name(kind)
                                                                 << " with alpha 0 has slope "
                                                                 << slope[i] << " at " << z[i]);
            }
        }
    };
    run(float());
    run(double());
}

// A value's bits depend on nothing but the value: not on its place, nor on the number of units.
TEST(place_does_not_matter) {
    const auto run = []<class T>(T, const Activation &activation) {
        std::vector<T> z(kUnits), b(kUnits);
        check::Random(2).fill(z.data(), kUnits);
        const T *all = z.data();
        const std::vector<T> a = values(activation, z);
        const std::vector<T> d = times_slope(activation, z, a, std::vector<T>(z.size(), T(1.1)));
        for (Index rows = 1; rows <= 40; ++rows)
            for (const Index first : {Index{0}, Index{5}, kUnits - rows}) {
                const Index ld = padded(rows) + 16;
                std::vector<T> some(static_cast<std::size_t>(2 * ld), kNan<T>), out = some;
                std::vector<T> delta(some.size(), T(1.1));
                std::copy_n(all + first, rows, some.data() + ld);
                activate<T>(activation, rows, 2, {some.data(), ld}, {out.data(), ld});
                CHECK(same_bits(out.data() + ld, a.data() + first, rows));
                multiply_by_slope<T>(activation, rows, 2, {some.data(), ld}, {out.data(), ld},
                                     {delta.data(), ld});
                CHECK(same_bits(delta.data() + ld, d.data() + first, rows));
                activate<T>(activation, rows, 2, {some.data(), ld}, {some.data(), ld});
                CHECK(same_bits(some.data() + ld, a.data() + first, rows)); // in place
            }
    };
    for (const Function &f : kFunctions) {
        run(float(), f.activation);
        run(double(), f.activation);
    }
}

TEST(bias_is_added_before) {
    const auto run = []<class T>(T, const Activation &activation) {
        constexpr Index kRows = 37, kColumns = 3, kLd = 48;
        std::vector<T> z(kLd * kColumns), b(kLd), sums(z.size()), a(z.size()), expected(z.size());
        check::Random random(3);
        random.fill(z.data(), kLd * kColumns);
        random.fill(b.data(), kLd);
        for (std::size_t i = 0; i < z.size(); ++i)
            sums[i] = z[i] + b[i % kLd];
        activate<T>(activation, kRows, kColumns, {sums.data(), kLd}, {expected.data(), kLd});
        add_bias_and_activate<T>(activation, kRows, kColumns, b.data(), {z.data(), kLd},
                                 {a.data(), kLd});
        for (std::size_t j = 0; j < kColumns; ++j) {
            CHECK(same_bits(z.data() + j * kLd, sums.data() + j * kLd, kRows));
            if (activation.kind != ActivationKind::softmax)
                CHECK(same_bits(a.data() + j * kLd, expected.data() + j * kLd, kRows));
        }
    };
    for (const Function &f : kFunctions) {
        run(float(), f.activation);
        run(double(), f.activation);
    }
    run(float(), {ActivationKind::softmax, 0});
    run(double(), {ActivationKind::softmax, 0});
}

// Each e^z has the error of exp and of the rounded shift; each of K terms adds half an ulp at most.
TEST(softmax_values_and_slopes) {
    const auto run = []<class T>(T) {
        for (const std::size_t rows : {1U, 2U, 3U, 5U, 16U, 17U, 40U, 300U})
            for (const T size : {T(0.1), T(3), T(60)}) {
                std::vector<T> z(rows), d(rows);
                check::Random random(rows);
                for (std::size_t i = 0; i < rows; ++i) {
                    z[i] = size * random.uniform<T>();
                    d[i] = random.uniform<T>();
                }
                const Real top = *std::max_element(z.begin(), z.end());
                Real total = 0, dot = 0;
                for (const T x : z)
                    total += std::exp(x - top);
                const std::vector<T> a = softmax(z);
                const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
                const double terms = 8 + std::sqrt(static_cast<double>(rows));
                for (std::size_t i = 0; i < rows; ++i) {
                    // z − top is rounded: e^(z − top) has a relative error of eps/2 (top − z)
                    const double allowed = terms + static_cast<double>(top - z[i]);
                    CHECK(ulps(a[i], std::exp(z[i] - top) / total, std::numeric_limits<T>::min()) <=
                          allowed);
                    dot += static_cast<Real>(a[i]) * d[i];
                }
                const auto ld = padded(static_cast<Index>(rows));
                std::vector<T> delta = d, held = a;
                delta.resize(static_cast<std::size_t>(ld), kNan<T>);
                held.resize(static_cast<std::size_t>(ld), kNan<T>);
                multiply_by_slope<T>({ActivationKind::softmax, 0}, static_cast<Index>(rows), 1,
                                     {held.data(), ld}, {held.data(), ld}, {delta.data(), ld});
                for (std::size_t i = 0; i < rows; ++i)
                    CHECK(std::abs(delta[i] - a[i] * (d[i] - dot)) <=
                          terms * eps * a[i] + std::numeric_limits<T>::min());
            }
    };
    run(float());
    run(double());
}

TEST(softmax_at_the_ends) {
    const auto run = []<class T>(T) {
        constexpr T kMax = std::numeric_limits<T>::max();
        CHECK(softmax<T>({kMax, -kMax, 0}) == std::vector<T>({1, 0, 0}));
        CHECK(softmax<T>({-kMax, -kMax}) == std::vector<T>({0.5, 0.5}));
        CHECK(softmax<T>({-kInfinity<T>, 3}) == std::vector<T>({0, 1}));
        CHECK(softmax<T>({7}) == std::vector<T>({1}));
        for (const T bad : {kNan<T>, -kNan<T>, kInfinity<T>})
            for (std::size_t place = 0; place < 20; ++place) {
                std::vector<T> z(20, T(1));
                z[place] = bad;
                const std::vector<T> a = softmax(z);
                CHECK(std::isnan(a[place]));
                CHECK(std::isinf(bad) || std::ranges::all_of(a, [](T x) { return std::isnan(x); }));
            }
    };
    run(float());
    run(double());
}

TEST(names) {
    for (int kind = 0; kind <= static_cast<int>(ActivationKind::softmax); ++kind)
        CHECK(activation_kind(activation_name(static_cast<ActivationKind>(kind))) ==
              static_cast<ActivationKind>(kind));
    bool refused = false;
    try {
        activation_kind("swish");
    } catch (const std::invalid_argument &) {
        refused = true;
    }
    CHECK(refused);
}
