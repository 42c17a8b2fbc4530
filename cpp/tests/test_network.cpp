// Where parameters lie, what they are at first, and what masks depend on.
#include "deltarule/inference.hpp"

#include "check.hpp"
#include "values.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <set>

using namespace deltarule;
using check::same_bits;

namespace {

LayerSpec dense(Index units, const std::string &initializer = "he_normal", double gain = 1) {
    return {.kind = "dense", .units = units, .initializer = initializer, .gain = gain};
}
LayerSpec dropout(double rate) { return {.kind = "dropout", .rate = rate}; }
LayerSpec embedding(const std::vector<Index> &columns, const std::vector<Index> &n_levels,
                    Index dimension) {
    return {.kind = "embedding", .columns = columns, .n_levels = n_levels, .dimension = dimension};
}
LayerSpec plain(const std::string &kind) { return {.kind = kind}; }

template <class T> const T *weights(const Network<T> &network, std::size_t layer) {
    return network.theta() + network.layout()[layer].theta_offset;
}

// Standard normal or uniform numbers as contract 10 counts them: (0, layer, block of 4, 0).
double drawn(std::uint64_t seed, std::uint64_t layer, std::uint64_t i, bool normal) {
    const Words words = draw(seed, Stream::initial_weights, {0, layer, i / 4, 0});
    if (normal)
        return to_normals(words[i % 4 / 2 * 2], words[i % 4 / 2 * 2 + 1])[i % 2];
    return std::sqrt(3.0) * (2 * to_unit_interval(words[i % 4]) - 1);
}

// The mask of one column at `position` of a batch, for a network of one Dropout layer after
// `depth` others.
std::vector<float> mask(const Pass &pass, Index units, std::size_t depth, float value = 1,
                        double rate = 0.5) {
    std::vector<LayerSpec> specs(depth, plain("activation"));
    specs.push_back(dropout(rate));
    const Network<float> network(units, specs, 0);
    Workspace<float> w(network, 1, 0, Keep::gradient);
    std::fill_n(w.gathered_input.data, units, value);
    network.forward(w, 0, 1, pass, w.scratch(0));
    return {w.slots.back().mask.data, w.slots.back().mask.data + units};
}

Pass training(std::uint64_t seed, std::uint64_t step, Index position) {
    return {.training = true, .seed = seed, .step = step, .position = position};
}

template <class T> bool throws(Index n_inputs, const std::vector<LayerSpec> &specs) {
    try {
        Network<T>(n_inputs, specs, 0);
    } catch (const std::invalid_argument &) {
        return true;
    }
    return false;
}

} // namespace

TEST(theta_has_no_padding) {
    const auto run = []<class T>(T) {
        const std::vector<LayerSpec> specs = {
            plain("standardize"), dense(7), dropout(0.2),    dense(1), dense(33),
            plain("activation"),  dense(3), plain("rescale")};
        const Network<T> network(5, specs, 1);
        Index offset = 0, state = 0, width = 5;
        for (std::size_t l = 0; l < specs.size(); ++l) {
            const LayerLayout &layout = network.layout()[l];
            const bool trained = specs[l].kind == "dense";
            const Index units = trained ? specs[l].units : width;
            CHECK_EQ(layout.n_inputs, width);
            CHECK_EQ(layout.n_outputs, units);
            CHECK_EQ(layout.theta_offset, offset);
            CHECK_EQ(layout.n_parameters, trained ? (width + 1) * units : 0);
            CHECK_EQ(layout.state_offset, state);
            const bool scales = specs[l].kind == "standardize" || specs[l].kind == "rescale";
            CHECK_EQ(layout.n_state, scales ? 2 * width : 0);
            CHECK_EQ(network.fitted[l], !scales);
            offset += layout.n_parameters;
            state += layout.n_state;
            width = units;
        }
        CHECK_EQ(network.n_parameters(), 6 * 7 + 8 * 1 + 2 * 33 + 34 * 3);
        CHECK_EQ(network.n_parameters(), offset);
        CHECK_EQ(network.n_state(), 2 * 5 + 2 * 3);
        CHECK_EQ(network.n_outputs(), 3);
        for (const T *p : {network.theta(), network.state()})
            CHECK_EQ(reinterpret_cast<std::uintptr_t>(p) % kAlignment, std::uintptr_t{0});
        for (Index i = 0; i < network.n_state(); ++i) // means, then scales, twice
            CHECK_EQ(network.state()[i], T((i < 10 ? i >= 5 : i >= 13) ? 1 : 0));
    };
    run(float());
    run(double());
}

// z of a single row is W x + b with W (n_l, n_{l-1}) column-major, b after it.
TEST(parameters_mean_what_the_layout_says) {
    Network<double> network(3, {dense(2), dense(1)}, 1);
    for (Index i = 0; i < network.n_parameters(); ++i)
        network.theta()[i] = static_cast<double>(i + 1);
    Workspace<double> w(network, 1, 0, Keep::everything);
    const double x[3] = {1, -2, 4};
    std::copy_n(x, 3, w.gathered_input.data);
    network.forward(w, 0, 1, Pass{}, w.scratch(0));
    const double a0 = 1 - 2 * 3 + 4 * 5 + 7, a1 = 2 - 2 * 4 + 4 * 6 + 8;
    CHECK(w.slots[0].a.data[0] == a0 && w.slots[0].a.data[1] == a1);
    CHECK_EQ(w.slots[1].a.data[0], 9 * a0 + 10 * a1 + 11);
}

TEST(initial_weights_are_drawn_for_their_place) {
    const auto run = []<class T>(T) {
        for (const std::string name :
             {"he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "zeros"}) {
            const Network<T> network(6, {dense(5, name), dropout(0.1), dense(3, name, 2.5)}, 42);
            for (const std::size_t l : {std::size_t{0}, std::size_t{2}}) {
                const Index in = network.layout()[l].n_inputs, out = network.layout()[l].n_outputs;
                double variance = 2 / static_cast<double>(name.starts_with("he") ? in : in + out);
                if (name == "zeros")
                    variance = 0;
                const double deviation = (l == 2 ? 2.5 : 1) * std::sqrt(variance);
                for (Index i = 0; i < in * out; ++i) {
                    const double x =
                        drawn(42, l, static_cast<std::uint64_t>(i), name.ends_with("normal"));
                    CHECK_EQ(weights(network, l)[i], static_cast<T>(deviation * x));
                }
                for (Index i = in * out; i < in * out + out; ++i)
                    CHECK_EQ(weights(network, l)[i], T(0)); // biases
            }
        }
    };
    run(float());
    run(double());
}

TEST(initial_weights_do_not_know_other_layers) {
    const std::vector<LayerSpec> one = {dense(7), dense(6), dense(2)};
    const std::vector<LayerSpec> other = {dense(7, "zeros"), dense(6), dense(40, "glorot_uniform")};
    const Network<float> a(5, one, 9), again(5, one, 9), b(50, other, 9), c(5, one, 10);
    CHECK(same_bits(a.theta(), again.theta(), a.n_parameters()));
    CHECK(same_bits(weights(a, 1), weights(b, 1), 6 * 7));
    std::set<float> distinct;
    for (std::size_t l = 0; l < 3; ++l) // no number is drawn twice, also with another seed
        for (const Network<float> *network : {&a, &c})
            for (Index i = 0; i < network->layout()[l].n_inputs * network->layout()[l].n_outputs;
                 ++i)
                CHECK(distinct.insert(weights(*network, l)[i]).second);
    CHECK(!same_bits(weights(a, 0), weights(c, 0), 4));
}

TEST(initial_weights_have_their_deviation) {
    for (const std::string name : {"he_normal", "he_uniform", "glorot_normal", "glorot_uniform"}) {
        constexpr Index kIn = 300, kOut = 500;
        const Network<double> network(kIn, {dense(kOut, name)}, 3);
        const ConstVectorMap<double> W(network.theta(), kIn * kOut);
        const double variance = name.starts_with("he") ? 2.0 / kIn : 2.0 / (kIn + kOut);
        const double n = kIn * kOut; // five standard errors; x² of a normal number has variance 2
        CHECK(std::abs(W.mean()) < 5 * std::sqrt(variance / n));
        CHECK(std::abs(W.squaredNorm() / n / variance - 1) < 5 * std::sqrt(2 / n));
        if (name.ends_with("uniform"))
            CHECK(W.cwiseAbs().maxCoeff() <= std::sqrt(3 * variance));
    }
}

TEST(tables_are_drawn_normal_for_their_place) {
    const auto run = []<class T>(T) {
        const Network<T> network(4, {embedding({2, 0}, {7, 5}, 3), dense(2)}, 42);
        const LayerLayout &layout = network.layout()[0];
        CHECK(layout.n_parameters == 36 && layout.n_weights() == 36 && layout.n_outputs == 8);
        CHECK(network.layout()[1].theta_offset == 36 && network.n_looked_up() == 36);
        for (Index i = 0; i < 36; ++i) {
            const double x = drawn(42, 0, static_cast<std::uint64_t>(i), true);
            CHECK_EQ(network.theta()[i], static_cast<T>(1 / std::sqrt(3.0) * x));
        }
    };
    run(float());
    run(double());
}

// What is no code gives NaN, and is never looked up.
TEST(codes_are_looked_up_or_nan) {
    Network<float> network(2, {embedding({0}, {3}, 2)}, 1);
    const float bad[] = {-1, 3, 0.5F, 2.5F, 1e30F, -1e30F, check::kNan<float>, -1e-3F, 1e10F, 3.5F};
    for (Index i = 0; i < 6; ++i)
        network.theta()[i] = static_cast<float>(10 + i);
    Workspace<float> w(network, 1, 0, Keep::gradient);
    const float *a = w.slots[0].a.data;
    w.gathered_input.data[1] = 7;
    for (const float code : {0.0F, 1.0F, 2.0F, -0.0F}) {
        w.gathered_input.data[0] = code;
        network.forward(w, 0, 1, Pass{}, w.scratch(0));
        CHECK(a[0] == 7 && a[1] == 10 + 2 * code && a[2] == 11 + 2 * code);
        CHECK(network.embedding()->holds_codes(w.input, 1, false));
    }
    for (const float code : bad) {
        w.gathered_input.data[0] = code;
        network.forward(w, 0, 1, Pass{}, w.scratch(0));
        CHECK(a[0] == 7 && std::isnan(a[1]) && std::isnan(a[2]));
        CHECK(!network.embedding()->holds_codes(w.input, 1, false));
        CHECK_EQ(network.embedding()->holds_codes(w.input, 1, true), std::isnan(code));
        w.slots[0].delta.data[1] = w.slots[0].delta.data[2] = 1; // nor does it get a gradient
        Buffer<float> gradient(6);
        network.gradient(w, 0, 1, Pass{}, {gradient.data(), false, {}}, Share{}, w.scratch(0));
        CHECK(std::all_of(gradient.data(), gradient.data() + 6, [](float g) { return g == 0; }));
    }
}

TEST(masks_depend_on_their_place_alone) {
    const std::vector<float> one = mask(training(1, 2, 3), 100, 1);
    CHECK(one == mask(training(1, 2, 3), 100, 1));
    CHECK(one == mask(training(1, 2, 3), 100, 1, -5));               // not on the data
    const std::vector<float> wide = mask(training(1, 2, 3), 163, 1); // nor on other units
    CHECK(std::equal(one.begin(), one.end(), wide.begin()));
    for (const std::vector<float> &other :
         {mask(training(2, 2, 3), 100, 1), mask(training(1, 3, 3), 100, 1),
          mask(training(1, 2, 4), 100, 1), mask(training(1, 2, 3), 100, 2),
          mask(training(3, 2, 1), 100, 1)}) {
        int equal = 0;
        for (std::size_t i = 0; i < 100; ++i)
            equal += one[i] == other[i] ? 1 : 0;
        CHECK(equal > 25 && equal < 75); // 50, with five deviations
    }
}

// Words of a draw in order, the low half of a word before the high one: never to change.
TEST(masks_are_philox_words) {
    for (const double rate : {0.1, 0.5, 0.9}) {
        const std::vector<float> got = mask(training(7, 1000, 77), 21, 2, 1, rate);
        for (std::uint64_t i = 0; i < got.size(); ++i) {
            const std::uint64_t word = draw(7, Stream::masks, {1000, 2, 77, i / 8})[i % 8 / 2];
            const double u = static_cast<double>(word >> (i % 2 * 32) & 0xffffffff) * 0x1p-32;
            CHECK_EQ(got[i], u < rate ? 0.0F : static_cast<float>(1 / (1 - rate)));
        }
    }
}

TEST(masks_drop_their_share) {
    for (const double rate : {0.0, 0.05, 0.3, 0.5, 0.95}) {
        const std::vector<float> m = mask(training(5, 6, 7), 100'000, 0, 1, rate);
        const double n = static_cast<double>(m.size());
        const double dropped = static_cast<double>(std::ranges::count(m, 0.0F)) / n;
        CHECK(std::abs(dropped - rate) <= 5 * std::sqrt(rate * (1 - rate) / n));
    }
}

// A column's mask is the same alone, inside a batch, and in whatever block the batch is computed.
TEST(masks_follow_the_position_in_the_batch) {
    constexpr Index kRows = 600, kUnits = 19;
    const Network<float> network(kUnits, {dropout(0.4)}, 0);
    const std::vector<float> X(kRows * kUnits, 1);
    const auto *bytes = reinterpret_cast<const std::byte *>(X.data());
    const StridedSource<float> source(
        {bytes, DType::float32, false, kRows, kUnits, kUnits * sizeof(float), sizeof(float)});
    const Examples<float> data{&source, &source, nullptr};
    const Trace<float> trace(network, LossSpec{}, data, training(3, 4, 0));
    Workspace<float> w(network, kRows, 0, Keep::everything);
    std::fill_n(w.gathered_input.data, w.input.ld * kRows, 1.0F);
    for (const auto &[first, n] : {std::pair<Index, Index>{0, 600}, {0, 1}, {5, 300}, {599, 1}}) {
        network.forward(w, first, n, training(3, 4, first), w.scratch(0));
        for (Index j = first; j < first + n; ++j) {
            const float *m = w.slots[0].mask.column(j);
            CHECK(same_bits(m, trace.workspace.slots[0].mask.column(j), kUnits));
            CHECK(same_bits(w.slots[0].a.column(j), m, kUnits)); // the input is 1
            if (j % 37 == 0)
                CHECK(same_bits(m, mask(training(3, 4, j), kUnits, 0, 1, 0.4).data(), kUnits));
        }
    }
}

TEST(dropout_only_in_training) {
    constexpr Index kUnits = 20;
    const Network<double> network(kUnits, {dropout(0.5)}, 0);
    Workspace<double> w(network, 1, 0, Keep::gradient);
    check::Random(1).fill(w.gathered_input.data, kUnits);
    network.forward(w, 0, 1, Pass{}, w.scratch(0));
    CHECK(same_bits(w.slots[0].a.data, w.gathered_input.data, kUnits));
    std::fill_n(w.gathered_input.data, kUnits,
                check::kNan<double>); // a dropped unit is 0 all the same
    network.forward(w, 0, 1, training(1, 1, 1), w.scratch(0));
    for (Index i = 0; i < kUnits; ++i)
        CHECK(w.slots[0].mask.data[i] == 0 ? w.slots[0].a.data[i] == 0
                                           : std::isnan(w.slots[0].a.data[i]));
}

TEST(a_residual_keeps_what_lies_there) {
    const Network<float> network(
        5,
        {plain("keep"), dense(5), plain("add"), plain("keep"), plain("layer_norm"), plain("add")},
        0);
    const Workspace<float> w(network, 3, 0, Keep::gradient);
    CHECK(w.slots[0].a.data == w.gathered_input.data && w.slots[3].a.data == w.slots[2].a.data);
    CHECK(w.slots[2].skip.data == w.gathered_input.data &&
          w.slots[5].skip.data == w.slots[3].a.data);
    CHECK(w.slots[0].skip.data == w.slots[2].delta.data);
    CHECK(w.slots[3].skip.data == w.slots[5].delta.data);
    CHECK(w.slots[3].delta.data != w.slots[2].delta.data);
}

// However the work is cut: the bits of a single thread. 130 units leave two behind the last group.
TEST(uneven_shares_have_the_bits_of_the_whole) {
    const std::vector<LayerSpec> specs = {
        {.kind = "dense", .units = 130, .activation = "tanh", .initializer = "he_normal"},
        plain("layer_norm"),
        {.kind = "dense", .units = 37, .initializer = "he_normal"}};
    const std::vector<Share> shares = {{0, .07}, {.07, .07}, {.07, .98}, {.98, 1}};
    const Index n = 33;
    const auto run = [&]<class T>(T) {
        const Network<T> network(130, specs, 3);
        const auto results = [&](const std::vector<Share> &cut) {
            Workspace<T> w(network, n, 0, Keep::everything);
            for (Index j = 0; j < n; ++j) {
                check::Random(static_cast<std::uint64_t>(j)).fill(w.gathered_input.column(j), 130);
                check::Random(static_cast<std::uint64_t>(n + j))
                    .fill(w.slots[2].delta.column(j), 37);
            }
            for (const Share &share : cut)
                network.forward_units(0, w, 0, n, Pass{}, share, w.scratch(0));
            for (const std::size_t l : {std::size_t{1}, std::size_t{2}})
                network.forward(l, w, 0, n, Pass{}, w.scratch(0));
            for (const Share &share : cut)
                network.recursion_units(2, w, 0, n, Pass{}, share, w.scratch(0));
            for (const std::size_t l : {std::size_t{1}, std::size_t{0}})
                network.backward(l, w, 0, n, Pass{}, true, w.scratch(0));
            Buffer<T> gradient(network.n_parameters());
            for (const Share &share : cut)
                network.gradient(w, 0, n, Pass{}, {gradient.data(), false, {}}, share,
                                 w.scratch(0));
            std::vector<T> all(gradient.data(), gradient.data() + gradient.size());
            for (Index j = 0; j < n; ++j) {
                all.insert(all.end(), w.slots[0].a.column(j), w.slots[0].a.column(j) + 130);
                all.insert(all.end(), w.slots[1].delta.column(j), w.slots[1].delta.column(j) + 130);
            }
            return all;
        };
        CHECK(results(shares) == results({Share{}}));
    };
    run(float());
    run(double());
}

// What lies behind the units of a column never reaches them.
TEST(a_norm_reads_its_units_alone) {
    const auto run = []<class T>(T, Index units) {
        const Network<T> network(units, {plain("layer_norm"), plain("layer_norm")}, 0);
        const auto results = [&](T behind) {
            Workspace<T> w(network, 20, 0, Keep::everything);
            for (const Columns<T> &c : {w.gathered_input, w.slots[1].delta})
                for (Index j = 0; j < 20; ++j) {
                    std::fill_n(c.column(j), c.ld, behind);
                    check::Random(static_cast<std::uint64_t>(j)).fill(c.column(j), units);
                }
            Buffer<T> gradient(network.n_parameters());
            network.forward(w, 0, 20, Pass{}, w.scratch(0));
            network.backward(w, 0, 20, Pass{}, true, w.scratch(0));
            network.gradient(w, 0, 20, Pass{}, {gradient.data(), false, {}}, Share{}, w.scratch(0));
            std::vector<T> all(gradient.data(), gradient.data() + gradient.size());
            for (const Columns<T> &c : {w.slots[1].a, w.input_gradient})
                for (Index j = 0; j < 20; ++j)
                    all.insert(all.end(), c.column(j), c.column(j) + units);
            return all;
        };
        const std::vector<T> expected = results(0), found = results(check::kNan<T>);
        CHECK(same_bits(found.data(), expected.data(), static_cast<Index>(found.size())));
    };
    for (const Index units : {1, 3, 4, 7, 9, 15, 16, 17, 30, 33}) {
        run(float(), units);
        run(double(), units);
    }
}

TEST(lists_that_are_no_network_are_refused) {
    const auto run = []<class T>(T) {
        CHECK(throws<T>(0, {dense(1)}) && throws<T>(3, {}) && throws<T>(3, {plain("convolution")}));
        CHECK(throws<T>(3, {dense(2), plain("standardize")}));
        CHECK(throws<T>(3, {plain("rescale"), dense(2)}));
        CHECK(throws<T>(3, {dense(2, "orthogonal")}));
        CHECK(throws<T>(3, {{.kind = "dense", .units = 2, .activation = "maxout"}}));
        CHECK(!throws<T>(3, {plain("standardize"), dense(2), plain("rescale")}));
        CHECK(!throws<T>(3, {embedding({2, 0}, {1, 5}, 1), plain("rescale")}));
        CHECK(throws<T>(3, {dense(2), embedding({0}, {2}, 1)}));
        CHECK(throws<T>(3, {embedding({}, {}, 1)}) && throws<T>(3, {embedding({0}, {2, 2}, 1)}));
        CHECK(throws<T>(3, {embedding({3}, {2}, 1)}) && throws<T>(3, {embedding({-1}, {2}, 1)}));
        CHECK(throws<T>(3, {embedding({0, 1, 0}, {2, 2, 2}, 1)}));
        CHECK(throws<T>(3, {embedding({0}, {0}, 1)}) && throws<T>(3, {embedding({0}, {2}, 0)}));
        const Index most = Index{1} << std::numeric_limits<T>::digits;
        CHECK(throws<T>(3, {embedding({0}, {most + 1}, 1)}));
        const LayerSpec keep = plain("keep"), add = plain("add");
        CHECK(!throws<T>(3, {keep, dense(3), keep, dense(3), add, add, dense(2)}));
        CHECK(throws<T>(3, {keep, dense(3)}) && throws<T>(3, {dense(3), add}));
        CHECK(throws<T>(3, {keep, dense(3), add, add}) && throws<T>(3, {keep, dense(2), add}));
        CHECK(throws<T>(3, {keep, keep, dense(3), add}) && throws<T>(3, {keep, keep, dense(3)}));
        CHECK(throws<T>(3, {keep, plain("standardize"), add}));
        CHECK(throws<T>(3, {keep, plain("rescale"), add}));
    };
    run(float());
    run(double());
}

// Rows stay where they are for a Dense that reads nothing beside them, a target for one output:
// class numbers are copied before they are checked.
TEST(what_may_stay_where_it_is) {
    const auto dense = [](Index units) {
        return LayerSpec{.kind = "dense", .units = units, .initializer = "he_normal"};
    };
    const std::vector<float> numbers(60);
    const auto view = [&](Index columns, Index row_stride) {
        return ArrayView{.data = reinterpret_cast<const std::byte *>(numbers.data()),
                         .dtype = DType::float32,
                         .rows = 6,
                         .columns = columns,
                         .row_stride = row_stride * Index{sizeof(float)},
                         .column_stride = sizeof(float)};
    };
    const StridedSource<float> X(view(5, 5)), apart(view(5, 9)), y(view(1, 1)), y_apart(view(1, 2));
    ArrayView swapped = view(5, 5);
    swapped.byte_swapped = true;
    const StridedSource<float> converted(swapped);
    CHECK(!converted.in_place());
    const auto stays = [&](std::vector<LayerSpec> specs, const Source<float> *rows,
                           const Source<float> *target) {
        const Network<float> network(5, specs, 1);
        Workspace<float> w(network, 6, 1, Keep::gradient);
        w.read_input(rows, 2);
        w.read_target(target, 2);
        const bool input = w.input.data != w.gathered_input.data;
        const bool is_target = w.target.data != w.gathered_target.data;
        CHECK(!input || w.input.data == numbers.data() + 2 * rows->in_place().ld);
        CHECK(!is_target || w.target.data == numbers.data() + 2);
        return std::pair(input, is_target);
    };
    CHECK(stays({dense(4), dense(1)}, &X, &y) == std::pair(true, true));
    CHECK(stays({dense(4), dense(1)}, &apart, &y_apart) == std::pair(true, false));
    CHECK(stays({dense(4), dense(1)}, &converted, nullptr) == std::pair(false, false));
    CHECK(stays({dense(4), dense(3)}, &X, &y) == std::pair(true, false)); // class numbers
    CHECK(stays({dense(3), dense(1)}, &X, &y) == std::pair(false, true));
    CHECK(stays({{.kind = "batch_norm"}, dense(4), dense(1)}, &X, &y) == std::pair(false, true));
}
