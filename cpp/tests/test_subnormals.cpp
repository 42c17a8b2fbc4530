// Subnormal numbers are flushed inside of every call, on all its threads, and only there.
#include "deltarule/flush_subnormals.hpp"
#include "deltarule/inference.hpp"
#include "deltarule/trainer.hpp"

#include "check.hpp"
#include "problem.hpp"
#include "subnormal_mode.hpp"

#include <algorithm>
#include <atomic>
#include <functional>

using namespace deltarule;
using check::kFlushed;
using check::kNan;
using check::Problem;
using check::subnormal_mode;

namespace {

// Rows that tell how they were read: every gather notes the mode of the processor.
template <class T> class Watched final : public Source<T> {
  public:
    explicit Watched(const Source<T> &inner) : inner_(inner) {}
    Index rows() const override { return inner_.rows(); }
    Index width() const override { return inner_.width(); }
    bool gather(const Index *numbers, Index n, T *out, Index ld, Check check) const override {
        ++reads;
        if (subnormal_mode() != kFlushed)
            ++unflushed;
        return inner_.gather(numbers, n, out, ld, check);
    }
    double value(Index row, Index column) const override { return inner_.value(row, column); }

    mutable std::atomic<int> reads{0}, unflushed{0};

  private:
    const Source<T> &inner_;
};

} // namespace

TEST(subnormals_are_flushed_inside_only) {
    const auto run = []<class T>(T, int n_threads) {
        const Problem<T> problem(600);
        Problem<T> bad(600);
        bad.X(599, 0) = kNan<T>;
        const Watched<T> X(*problem.X.source()), bad_X(*bad.X.source());
        const Examples<T> data{&X, problem.y.source(), nullptr};
        const Examples<T> refused{&bad_X, bad.y.source(), nullptr};
        Trainer<T> trainer(check::large_network<T>(), LossSpec{}, check::optimizers()[3], 7);
        Network<T> &network = trainer.network();
        std::vector<T> out(1200), gradient(static_cast<std::size_t>(network.n_parameters())),
            input_gradient(static_cast<std::size_t>(600 * Problem<T>::kInputs));
        const RunOptions options{
            .batch_size = 400, .epochs = 10'000, .max_steps = 2, .n_threads = n_threads};
        int polls = 0;
        const Poll poll = [&polls] {
            CHECK_EQ(subnormal_mode(), kFlushed);
            return ++polls < 0;
        };
        const Poll broken = []() -> bool { throw std::runtime_error("broken"); };
        double loss = 0;
        const std::vector<std::function<void()>> calls = {
            [&] { trainer.run(data, Problem<T>::none(), options, poll); },
            [&] { trainer.step(data, n_threads); },
            [&] { trainer.apply(gradient.data(), 0); },
            [&] { predict(network, X, poll, n_threads, out.data()); },
            [&] {
                evaluate(network, LossSpec{}, data, Pass{}, poll, n_threads, loss, gradient.data());
            },
            [&] {
                backward(network, X, *problem.y.source(), Pass{}, poll, n_threads, gradient.data(),
                         input_gradient.data());
            },
            [&] { const Trace<T> trace(network, LossSpec{}, data, Pass{}); },
            [&] { trainer.run(refused, Problem<T>::none(), options, poll); },
            [&] { trainer.step(refused, n_threads); },
            [&] { evaluate(network, LossSpec{}, refused, Pass{}, poll, n_threads, loss, {}); },
            [&] { const Trace<T> trace(network, LossSpec{}, refused, Pass{}); },
            [&] { trainer.run(data, Problem<T>::none(), options, broken); },
            [&] { predict(network, X, broken, n_threads, out.data()); }};
        int n_thrown = 0;
        for (const bool flushed_outside : {false, true})
            for (const auto &call : calls) {
                std::optional<FlushSubnormals> outside;
                if (flushed_outside)
                    outside.emplace();
                try {
                    call();
                } catch (const DataError &) {
                    ++n_thrown;
                } catch (const std::runtime_error &error) {
                    CHECK_EQ(std::string(error.what()), std::string("broken"));
                    ++n_thrown;
                }
                CHECK_EQ(subnormal_mode(), flushed_outside ? kFlushed : 0U);
            }
        CHECK(n_thrown >= 2 * 5); // a thread of predict without a block asks no poll
        CHECK(X.reads > 0 && bad_X.reads > 0 && polls > 0);
        CHECK_EQ(X.unflushed, 0);
    };
    for (const int n_threads : {1, 3}) {
        run(float(), n_threads);
        run(double(), n_threads);
    }
}

// Subnormal weights count as zero.
TEST(subnormal_parameters_count_as_zero) {
    const auto run = []<class T>(T) {
        const Problem<T> problem(5);
        Network<T> network(Problem<T>::kInputs, {{.kind = "dense", .units = 2}}, 0);
        std::fill_n(network.theta(), network.n_parameters(), std::numeric_limits<T>::denorm_min());
        std::vector<T> out(10, T(1));
        predict(network, *problem.X.source(), nullptr, 1, out.data());
        CHECK(std::ranges::all_of(out, [](T x) { return x == 0; }));
    };
    if (kFlushed != 0) {
        run(float());
        run(double());
    }
}
