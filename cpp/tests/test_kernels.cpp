// The three products equal contract 16 bit for bit, are accurate, and write nowhere else. Every
// buffer has NaN wherever the kernels may read but must not use what they read, and guards after
// what they may write.
#include "deltarule/kernels.hpp"

#include "check.hpp"
#include "values.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace deltarule;
using check::kNan;
using check::random_matrix;
using check::same_bits;

namespace {

constexpr Index kGuard = 32;

// Leading dimensions in use, by turns: of what is written always whole packets, of what is only
// read any.
Index written_ld(Index rows, Index turn) {
    const Index whole = (rows + 15) / 16 * 16;
    return turn % 3 == 0 ? padded(rows) : whole + turn % 3 * 16 - 16;
}
Index read_ld(Index rows, Index turn) {
    return turn % 4 == 0 ? rows + turn / 4 % 3 : written_ld(rows, turn);
}

template <class T> bool all_nan(const T *p, Index n) {
    return std::all_of(p, p + n, [](T x) { return std::isnan(x); });
}

// Columns to read: padding and slack are NaN, the memory ends with the slack.
template <class T> class Input {
  public:
    Input(const Matrix<T> &values, Index ld) : ld_(ld), memory_(ld * values.cols()) {
        constexpr Index kSlack = Index{kAlignment / sizeof(T)};
        std::fill_n(memory_.data(), memory_.size() + kSlack, kNan<T>);
        for (Index j = 0; j < values.cols(); ++j)
            std::copy_n(values.col(j).data(), values.rows(), memory_.data() + j * ld);
    }
    Columns<const T> columns() const { return {memory_.data(), ld_}; }
    const T *data() const { return memory_.data(); }

  private:
    Index ld_;
    Buffer<T> memory_;
};

// Columns to write: NaN everywhere, and a guard that must stay.
template <class T> class Output {
  public:
    Output(Index rows, Index n, Index ld)
        : rows_(rows), n_(n), ld_(ld), memory_(ld * n + 2 * kGuard) {
        std::fill_n(memory_.data(), memory_.size(), kNan<T>);
    }
    Columns<T> columns() { return {memory_.data() + kGuard, ld_}; }
    bool guards_stand() const {
        return all_nan(memory_.data(), kGuard) &&
               all_nan(memory_.data() + kGuard + ld_ * n_, kGuard);
    }
    Matrix<T> values() const {
        return ConstMatrixMap<T>(memory_.data() + kGuard, rows_, n_, Eigen::OuterStride<>(ld_));
    }

  private:
    Index rows_, n_, ld_;
    Buffer<T> memory_;
};

// Working memory of exactly the size asked for, full of NaN.
template <class T> class Scratch {
  public:
    Scratch(Index inputs, Index outputs)
        : size_(scratch_size<T>(inputs, outputs)), memory_(size_ + kGuard) {
        std::fill_n(memory_.data(), memory_.size(), kNan<T>);
    }
    T *data() { return memory_.data(); }
    bool guards_stand() const { return all_nan(memory_.data() + size_, kGuard); }

  private:
    Index size_;
    Buffer<T> memory_;
};

template <class T> T madd(T x, T y, T z) {
    if constexpr (simd::kFused)
        return std::fma(x, y, z);
    else
        return x * y + z;
}

// Contract 16 as it reads: chains of 256 from zero, added in order.
template <class T> Matrix<T> by_chains(const Matrix<T> &a, const Matrix<T> &b) {
    Matrix<T> c(a.rows(), b.cols());
    Vector<T> chain(a.rows());
    for (Index j = 0; j < b.cols(); ++j)
        for (Index k0 = 0; k0 < a.cols(); k0 += 256) {
            chain.setZero();
            for (Index t = k0; t < std::min(a.cols(), k0 + 256); ++t)
                for (Index i = 0; i < a.rows(); ++i)
                    chain[i] = madd(a(i, t), b(t, j), chain[i]);
            for (Index i = 0; i < a.rows(); ++i)
                c(i, j) = k0 == 0 ? chain[i] : c(i, j) + chain[i];
        }
    return c;
}

// The same for fewer than 4 outputs: element t in lane t mod 16, chains of 256 in each lane, then
// the tree.
template <class T> Matrix<T> by_lanes(const Matrix<T> &a, const Matrix<T> &b) {
    Matrix<T> c(a.rows(), b.cols());
    for (Index j = 0; j < b.cols(); ++j)
        for (Index i = 0; i < a.rows(); ++i)
            for (Index k0 = 0; k0 < a.cols(); k0 += 16 * 256) {
                T lanes[16] = {};
                for (Index t = k0; t < std::min(a.cols(), k0 + 16 * 256); ++t)
                    lanes[t % 16] = madd(a(i, t), b(t, j), lanes[t % 16]);
                for (int half = 8; half > 0; half /= 2)
                    for (int lane = 0; lane < half; ++lane)
                        lanes[lane] += lanes[lane + half];
                c(i, j) = k0 == 0 ? lanes[0] : c(i, j) + lanes[0];
            }
    return c;
}

template <class T> Matrix<T> by_the_rule(const Matrix<T> &a, const Matrix<T> &b) {
    return a.rows() < kNarrow ? by_lanes(a, b) : by_chains(a, b);
}

// |C − A B| <= 4 eps √K |A||B|. A sum of K products rounds K times, each time by at most u = eps/2
// of Σ|a||b| (the roundings of the products, where they are not fused, make one more together). At
// worst that is (K + 1) u, which lies within the bound 8 u √K up to K = 60. Beyond, the errors are
// taken as independent with mean zero, and Hoeffding's inequality lets one element in
// 1 / (2 exp(−8²/2)) = 4e13 leave it (N. Higham, T. Mary, 2019).
template <class T> bool accurate(const Matrix<T> &c, const Matrix<T> &a, const Matrix<T> &b) {
    using Wide = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    const Matrix<Wide> wide_a = a.template cast<Wide>(), wide_b = b.template cast<Wide>();
    const Matrix<Wide> exact = wide_a.lazyProduct(wide_b);
    const Matrix<T> sizes = a.cwiseAbs() * b.cwiseAbs();
    const T factor = 4 * std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(a.cols()));
    return ((c.template cast<Wide>() - exact).cwiseAbs().array() <=
            (factor * sizes).template cast<Wide>().array())
        .all();
}

struct Shape {
    Index m, k, n;
};

std::string name(const Shape &s) {
    return std::to_string(s.m) + " x " + std::to_string(s.k) + " x " + std::to_string(s.n);
}

// Every length from 1 to 70 in each direction, all triples of lengths around the tiles, and
// lengths around the blocks: chains of 256, 4096 elements in virtual lanes, packed blocks.
std::vector<Shape> shapes() {
    std::vector<Shape> all;
    const auto turn = [&all](Index x, Index y, Index z) {
        all.insert(all.end(), {{x, y, z}, {z, x, y}, {y, z, x}});
    };
    for (Index x = 1; x <= 70; ++x)
        for (const Index y : {1, 3, 4, 17, 50})
            for (const Index z : {1, 2, 9, 34})
                turn(x, y, z);
    const std::vector<Index> around = {1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 49, 65};
    for (const Index m : around)
        for (const Index k : around)
            for (const Index n : around)
                all.push_back({m, k, n});
    for (const Index x : {255, 256, 257, 258, 511, 784, 1030})
        for (const Index y : {1, 3, 4, 40})
            for (const Index z : {1, 5, 33})
                turn(x, y, z);
    for (const Index n : {1, 31, 32, 40, 256})
        all.push_back({300, 400, n});
    for (Index rest = 0; rest < 5; ++rest) // of chains through packed factors
        all.insert(all.end(), {{400, 257 + rest, 40}, {300, 64, 61 + rest}});
    all.insert(all.end(), {{1030, 300, 33}, {300, 1030, 33}, {600, 90, 64}, {150, 45, 130}});
    for (const Index width : {4095, 4096, 4097, 8200})
        for (const Index narrow : {1, 2, 3})
            all.insert(all.end(), {{narrow, width, 2}, {width, narrow, 2}});
    return all;
}

#define CHECK_SHAPE(condition, shape)                                                              \
    CHECK_OR_SAY(condition, #condition << " for " << name(shape) << ", " << sizeof(T) << " bytes")

// Calls f for every shape, the turn deciding leading dimensions; slow arithmetic takes a sample.
template <class F> void for_shapes(F &&f) {
    Index turn = 0;
    for (const Shape &shape : shapes()) {
        f(float(), shape, turn);
        f(double(), shape, turn);
        ++turn;
    }
}

template <class T> struct Forward {
    Output<T> z, a;
    Forward(const Matrix<T> &W, const Vector<T> &b, const Matrix<T> &in,
            const Activation &activation, Index turn, bool apart)
        : z(W.rows(), in.cols(), written_ld(W.rows(), turn)),
          a(W.rows(), in.cols(), written_ld(W.rows(), turn + 1)) {
        Matrix<T> theta(W.rows(), W.cols() + 1); // W and b as in the network
        theta << W, b;
        const Input<T> weights(theta, W.rows()), input(in, read_ld(in.rows(), turn));
        Scratch<T> scratch(W.cols(), W.rows());
        forward_product<T>(W.rows(), W.cols(), in.cols(), weights.data(), W.rows(),
                           weights.data() + W.size(), input.columns(), activation, z.columns(),
                           apart ? a.columns() : z.columns(), scratch.data());
        CHECK(z.guards_stand() && a.guards_stand() && scratch.guards_stand());
    }
};

template <class T> Matrix<T> recursion(const Matrix<T> &W, const Matrix<T> &delta, Index turn) {
    const Input<T> weights(W, W.rows()), input(delta, read_ld(W.rows(), turn));
    Output<T> d_in(W.cols(), delta.cols(), written_ld(W.cols(), turn));
    Scratch<T> scratch(W.cols(), W.rows());
    recursion_product<T>(W.rows(), W.cols(), delta.cols(), weights.data(), input.columns(),
                         d_in.columns(), scratch.data());
    CHECK(d_in.guards_stand() && scratch.guards_stand());
    return d_in.values();
}

// What an update is told: every parameter, how often.
template <class T> struct Told {
    std::vector<T> values;
    std::vector<int> times;
    std::vector<bool> is_weight;

    explicit Told(std::size_t size) : values(size), times(size), is_weight(size) {}
    void operator()(const ParameterRange &range, const T *given) {
        for (Index i = 0; i < range.count(); ++i) {
            const auto at = static_cast<std::size_t>(range.first + i);
            values.at(at) = given[i];
            ++times.at(at);
            is_weight.at(at) = i < range.n_weights;
        }
    }
};

// [dW, db] (m, k + 1) of inputs [k0, k1), NaN elsewhere. `start` is what lies there before, or
// empty: then it is overwritten. Through memory, or only through `told`.
template <class T>
Matrix<T> gradient(const Matrix<T> &delta, const Matrix<T> &in, Index k0, Index k1, Index turn,
                   const Matrix<T> &start = {}, Told<T> *told = nullptr, bool in_memory = true) {
    const Index m = delta.rows(), k = in.rows();
    const Input<T> d(delta, read_ld(m, turn)), a(in, read_ld(k, turn + 1));
    const Index offset = kGuard + turn % 16, size = m * (k + 1);
    Buffer<T> theta(offset + size + kGuard);
    std::fill_n(theta.data(), theta.size(), kNan<T>);
    std::copy_n(start.data(), start.size(), theta.data() + offset);
    GradientSink<T> sink;
    sink.gradient = in_memory ? theta.data() : nullptr;
    sink.add = start.size() > 0;
    sink.touched = {theta.data(), theta.data()}; // fetched where weights are many
    if (told)
        sink.apply = *told;
    Scratch<T> scratch(k, m);
    gradient_product<T>(m, k, k0, k1, delta.cols(), d.columns(), a.columns(), offset, sink,
                        scratch.data());
    CHECK(scratch.guards_stand() && all_nan(theta.data(), offset) &&
          all_nan(theta.data() + offset + size, kGuard));
    return ConstMatrixMap<T>(theta.data() + offset, m, k + 1, Eigen::OuterStride<>(m));
}

// [dW, db] by the rule; 1 is the last input.
template <class T> Matrix<T> with_ones(const Matrix<T> &in) {
    Matrix<T> extended(in.rows() + 1, in.cols());
    extended << in, Matrix<T>::Ones(1, in.cols());
    return extended.transpose();
}

const std::vector<Shape> kLayers = {{1, 30, 37},   {2, 300, 37},  {3, 5000, 18}, {4, 4, 37},
                                    {30, 1, 37},   {300, 2, 37},  {65, 70, 70},  {300, 400, 70},
                                    {700, 90, 40}, {90, 700, 40}, {5, 17, 33},   {20, 40, 200},
                                    {1, 8, 256},   {1, 1, 3}};

} // namespace

TEST(forward_product_follows_the_rule) {
    for_shapes([]<class T>(T, const Shape &s, Index turn) {
        const Matrix<T> W = random_matrix<T>(s.m, s.k, 1), in = random_matrix<T>(s.k, s.n, 2);
        const Vector<T> b = random_matrix<T>(s.m, 1, 3);
        Forward<T> run(W, b, in, Activation{}, turn, turn % 2 == 0);
        const Matrix<T> sums = by_the_rule(W, in), z = sums.colwise() + b;
        const Matrix<T> got = run.z.values();
        CHECK_SHAPE(same_bits(got.data(), z.data(), z.size()), s);
        CHECK_SHAPE(accurate(sums, W, in), s);
        if (turn % 2 == 0)
            CHECK_SHAPE(same_bits(run.a.values().data(), z.data(), z.size()), s);
    });
}

TEST(recursion_product_follows_the_rule) {
    for_shapes([]<class T>(T, const Shape &s, Index turn) {
        const Matrix<T> W = random_matrix<T>(s.m, s.k, 4), delta = random_matrix<T>(s.m, s.n, 5);
        const Matrix<T> Wt = W.transpose(), d_in = recursion(W, delta, turn);
        const Matrix<T> expected = by_the_rule(Wt, delta);
        CHECK_SHAPE(same_bits(d_in.data(), expected.data(), expected.size()), s);
        CHECK_SHAPE(accurate(d_in, Wt, delta), s);
    });
}

TEST(gradient_product_follows_the_rule) {
    for_shapes([]<class T>(T, const Shape &s, Index turn) {
        if (s.n > kRowBlock)
            return;
        const Matrix<T> delta = random_matrix<T>(s.m, s.n, 6), in = random_matrix<T>(s.k, s.n, 7);
        const Matrix<T> b = with_ones(in), dtheta = gradient(delta, in, 0, s.k, turn);
        const Matrix<T> expected = by_chains(delta, b); // sums over rows have no lanes
        CHECK_SHAPE(same_bits(dtheta.data(), expected.data(), expected.size()), s);
        CHECK_SHAPE(accurate(dtheta, delta, b), s);
    });
}

// One column has the same bits alone, at every place of a batch, and with any leading dimension.
TEST(columns_do_not_know_each_other) {
    const auto run = []<class T>(T, const Shape &s) {
        const Matrix<T> W = random_matrix<T>(s.m, s.k, 8), in = random_matrix<T>(s.k, s.n, 9);
        const Matrix<T> delta = random_matrix<T>(s.m, s.n, 10);
        const Vector<T> b = random_matrix<T>(s.m, 1, 11);
        const auto forward = [&](const Matrix<T> &columns, Index turn) {
            return Forward<T>(W, b, columns, {ActivationKind::tanh}, turn, false).z.values();
        };
        const Matrix<T> a = forward(in, 0), d_in = recursion(W, delta, 0);
        for (Index turn = 1; turn < 12; ++turn) {
            const Index n = std::min(s.n, turn * turn), first = s.n - n;
            const Matrix<T> some = in.rightCols(n).rowwise().reverse();
            const Matrix<T> some_delta = delta.rightCols(n).rowwise().reverse();
            const Matrix<T> other = forward(some, turn), other_d = recursion(W, some_delta, turn);
            for (Index j = 0; j < n; ++j) {
                CHECK_SHAPE(same_bits(other.col(n - 1 - j).data(), a.col(first + j).data(), s.m),
                            s);
                CHECK_SHAPE(
                    same_bits(other_d.col(n - 1 - j).data(), d_in.col(first + j).data(), s.k), s);
            }
        }
    };
    for (const Shape &shape : kLayers) {
        run(float(), shape);
        run(double(), shape);
    }
}

// NaN in one column stays there.
TEST(nan_flows_to_its_own_column) {
    const auto run = []<class T>(T, const Shape &s) {
        const Matrix<T> W = random_matrix<T>(s.m, s.k, 12);
        const Vector<T> b = random_matrix<T>(s.m, 1, 13);
        Matrix<T> in = random_matrix<T>(s.k, s.n, 14), delta = random_matrix<T>(s.m, s.n, 15);
        in(s.k - 1, s.n / 2) = delta(s.m - 1, s.n / 2) = kNan<T>;
        const Matrix<T> z = Forward<T>(W, b, in, Activation{}, 0, false).z.values();
        const Matrix<T> d_in = recursion(W, delta, 0);
        for (Index j = 0; j < s.n; ++j)
            for (const Matrix<T> *out : {&z, &d_in})
                CHECK_SHAPE(j == s.n / 2 ? all_nan(out->col(j).data(), out->rows())
                                         : out->col(j).allFinite(),
                            s);
    };
    for (const Shape &shape : kLayers) {
        run(float(), shape);
        run(double(), shape);
    }
}

TEST(fetching_ahead_changes_no_bit_and_walks_around_once) {
    const Index m = 70, k = 90, n = 80; // beyond a small product
    const Input<float> W(random_matrix<float>(m, k, 1), m), A(random_matrix<float>(k, n, 2), k),
        b(random_matrix<float>(m, 1, 3), m);
    const std::vector<float> later(4096);
    Vector<float> scratch(scratch_size<float>(k, m));
    Matrix<float> Z(padded(m), n), fetched(padded(m), n);
    const auto forward = [&](Matrix<float> &z, Ahead *ahead) {
        forward_product<float>(m, k, n, W.data(), m, b.data(), A.columns(), Activation{},
                               {z.data(), z.rows()}, {z.data(), z.rows()}, scratch.data(), ahead);
    };
    forward(Z, nullptr);
    const float *begin = later.data(), *end = begin + later.size();
    Ahead ahead(begin, end, begin + 1024);
    CHECK(ahead.lines == 256);
    forward(fetched, &ahead);
    CHECK(ahead.lines <= 0);
    for (Index j = 0; j < n; ++j)
        CHECK(same_bits(Z.data() + j * Z.rows(), fetched.data() + j * fetched.rows(), m));
    Ahead around(begin, end, begin + 1024);
    for (int i = 0; i < 256; i += 2)
        around.fetch();
    CHECK(around.next == reinterpret_cast<const std::byte *>(begin + 1024));
    Ahead nothing;
    forward(fetched, &nothing);
    CHECK(nothing.next == nullptr);
}

TEST(every_line_of_a_block_is_fetched_once_in_order) {
    const std::vector<double> one(4096), other(4096);
    const auto line = [](const std::vector<double> &array, Index number) {
        return reinterpret_cast<const std::byte *>(array.data() + number);
    };
    for (const Index calls : {0, 1, 7, 12, 100}) {
        BlockAhead<double> block({one.data(), other.data()}, 5, 21, 4, 100, calls); // 4 x 3 lines
        CHECK(block.any() && block.lines == 12);
        Index fetched = 0;
        for (Index call = 1; call <= std::max<Index>(calls, 1); ++call) {
            block.fetch();
            fetched = call * 12 / std::max<Index>(calls, 1);
            const Index at = 5 + fetched / 3 * 100 + fetched % 3 * 8;
            CHECK(block.next[0] == line(one, at) && block.next[1] == line(other, at));
        }
        CHECK(fetched == 12);
    }
    CHECK(!BlockAhead<double>().any());
}

TEST(activation_is_fused) {
    const auto run = []<class T>(T, const Shape &s, const Activation &activation) {
        const Matrix<T> W = random_matrix<T>(s.m, s.k, 16), in = random_matrix<T>(s.k, s.n, 17);
        const Vector<T> b = random_matrix<T>(s.m, 1, 18);
        Forward<T> linear(W, b, in, Activation{}, 0, false), apart(W, b, in, activation, 1, true),
            in_place(W, b, in, activation, 2, false);
        const Matrix<T> z = linear.z.values();
        CHECK_SHAPE(same_bits(apart.z.values().data(), z.data(), z.size()), s);
        if (activation.kind == ActivationKind::softmax) { // by whole columns, later
            CHECK_SHAPE(same_bits(apart.a.values().data(), z.data(), z.size()), s);
            CHECK_SHAPE(same_bits(in_place.z.values().data(), z.data(), z.size()), s);
            return;
        }
        Output<T> a(s.m, s.n, padded(s.m));
        activate<T>(activation, s.m, s.n, linear.z.columns(), a.columns());
        CHECK_SHAPE(same_bits(apart.a.values().data(), a.values().data(), z.size()), s);
        CHECK_SHAPE(same_bits(in_place.z.values().data(), a.values().data(), z.size()), s);
    };
    for (int kind = 0; kind <= static_cast<int>(ActivationKind::softmax); ++kind)
        for (const Shape &shape : {Shape{1, 30, 9}, {3, 30, 9}, {37, 5, 9}, {300, 260, 40}}) {
            run(float(), shape, {static_cast<ActivationKind>(kind), 0.3});
            run(double(), shape, {static_cast<ActivationKind>(kind), 0.3});
        }
}

TEST(gradient_is_added_once) {
    const auto run = []<class T>(T, const Shape &s) {
        const Matrix<T> delta = random_matrix<T>(s.m, s.n, 19), in = random_matrix<T>(s.k, s.n, 20);
        const Matrix<T> start = random_matrix<T>(s.m, s.k + 1, 21);
        const Matrix<T> sum = start + gradient(delta, in, 0, s.k, 0);
        const Matrix<T> added = gradient(delta, in, 0, s.k, 3, start);
        CHECK_SHAPE(same_bits(added.data(), sum.data(), sum.size()), s);
    };
    for (const Shape &shape : kLayers) {
        run(float(), shape);
        run(double(), shape);
    }
}

// Any split of the inputs gives the bits of the whole, and writes its own share only.
TEST(gradient_in_ranges_equals_the_whole) {
    const auto run = []<class T>(T, const Shape &s) {
        const Matrix<T> delta = random_matrix<T>(s.m, s.n, 22), in = random_matrix<T>(s.k, s.n, 23);
        const Matrix<T> whole = gradient(delta, in, 0, s.k, 0);
        check::Random random(24);
        for (Index k0 = 0, turn = 0; k0 < s.k; ++turn) {
            const Index k1 = std::min(s.k, k0 + 1 + random.below(std::max(s.k / 2, Index{2})));
            const Matrix<T> part = gradient(delta, in, k0, k1, turn);
            for (Index t = 0; t <= s.k; ++t) {
                const bool mine = t == s.k ? k0 == 0 : t >= k0 && t < k1;
                CHECK_SHAPE(mine ? same_bits(part.col(t).data(), whole.col(t).data(), s.m)
                                 : all_nan(part.col(t).data(), s.m),
                            s);
            }
            k0 = k1;
        }
    };
    for (const Shape &shape : kLayers) {
        run(float(), shape);
        run(double(), shape);
    }
}

// `apply` gets every finished parameter once, whether the gradient is kept in memory or not.
TEST(gradient_is_handed_over_once) {
    const auto run = []<class T>(T, const Shape &s) {
        const Matrix<T> delta = random_matrix<T>(s.m, s.n, 25), in = random_matrix<T>(s.k, s.n, 26);
        const Matrix<T> start = random_matrix<T>(s.m, s.k + 1, 27);
        for (const bool in_memory : {true, false})
            for (const bool add : {false, true}) {
                if (add && !in_memory) // nothing there to add to
                    continue;
                const Matrix<T> before = add ? start : Matrix<T>();
                const Matrix<T> whole = gradient(delta, in, 0, s.k, 5, before);
                const Index offset = kGuard + 5, size = s.m * (s.k + 1);
                for (const Index split : {Index{0}, s.k / 2}) {
                    Told<T> told(static_cast<std::size_t>(offset + size));
                    if (split > 0) // offset and guards as for the whole
                        gradient(delta, in, 0, split, 5, before, &told, in_memory);
                    gradient(delta, in, split, s.k, 5, before, &told, in_memory);
                    CHECK_SHAPE(same_bits(told.values.data() + offset, whole.data(), size), s);
                    for (Index i = 0; i < offset + size; ++i) {
                        const auto at = static_cast<std::size_t>(i);
                        const bool weight = i - offset < s.m * s.k;
                        CHECK_SHAPE(told.times[at] == (i < offset ? 0 : 1), s);
                        CHECK_SHAPE(i < offset || told.is_weight[at] == weight, s);
                    }
                }
            }
    };
    for (const Shape &shape : kLayers) {
        run(float(), shape);
        run(double(), shape);
    }
}
