// However a run is cut up, the same bits; after a failure, the state it promises.
#include "deltarule/inference.hpp"

#include "check.hpp"
#include "problem.hpp"
#include "subnormal_mode.hpp"

#include <algorithm>
#include <functional>

using namespace deltarule;
using check::kNan;
using check::Problem;
using check::Random;
using check::same;
using check::same_bits;
using check::subnormal_mode;

namespace {

constexpr Index kRows = 700, kValidationRows = 300;

template <class T>
Trainer<T> make_trainer(const OptimizerSpec &optimizer,
                        std::optional<std::uint64_t> seed = std::nullopt, double ema = 0,
                        std::shared_ptr<Network<T>> network = check::small_network<T>()) {
    return Trainer<T>(std::move(network), LossSpec{}, optimizer, seed, ema);
}

// Batches of 256 + 44 rows, the last of an epoch of 100.
RunOptions options_for(std::int64_t epochs) {
    return {.batch_size = 300, .epochs = epochs, .keep_best = true};
}

// Calls run until it has nothing left to do; changes the options before each call, if asked to.
template <class T>
int run_in_pieces(Trainer<T> &trainer, const Examples<T> &data, const Examples<T> &validation,
                  RunOptions options, const Poll &poll,
                  const std::function<void(RunOptions &)> &change = nullptr) {
    for (int calls = 1;; ++calls) {
        if (change)
            change(options);
        const Status status = trainer.run(data, validation, options, poll);
        if (status == Status::epochs)
            return calls;
        CHECK(status != Status::diverged && status != Status::converged);
    }
}

template <class T> std::shared_ptr<Network<T>> make_norm_network(const std::string &) {
    return check::norm_network<T>();
}

// For each optimiser, type, and network without and with BatchNorm: one whole run, and what
// cut(trainer, run) makes of it.
template <class F> void compare_with_a_whole_run(F &&cut) {
    const auto compare = [&]<class T>(T, const OptimizerSpec &optimizer) {
        const Problem<T> problem(kRows), other(kValidationRows, 50);
        const Examples<T> data = problem.examples(), validation = other.examples();
        const double ema = sizeof(T) == 8 ? 0.9 : 0;
        for (const auto &make : {check::small_network<T>, make_norm_network<T>}) {
            Trainer<T> whole = make_trainer<T>(optimizer, 77, ema, make("tanh"));
            Trainer<T> pieces = make_trainer<T>(optimizer, 77, ema, make("tanh"));
            CHECK(whole.run(data, validation, options_for(5), nullptr) == Status::epochs);
            CHECK_EQ(whole.state.step, 15);
            CHECK_EQ(whole.records.size(), std::size_t{5});
            cut(pieces, data, validation);
            CHECK(same(whole, pieces));
        }
    };
    for (const OptimizerSpec &optimizer : check::optimizers()) {
        compare(float(), optimizer);
        compare(double(), optimizer);
    }
}

template <class F> bool throws_data_error(F &&f) {
    try {
        f();
    } catch (const DataError &) {
        return true;
    }
    return false;
}

// Whether the optimiser stands where it did before any step.
template <class T> bool as_at_the_start(Trainer<T> &trainer) {
    Optimizer<T> &optimizer = trainer.optimizer();
    Optimizer<T> fresh(optimizer.spec(), trainer.network().n_parameters());
    bool equal = optimizer.n_steps() == 0;
    for (std::size_t i = 0; i < fresh.vectors().size(); ++i) {
        const Buffer<T> &vector = *optimizer.vectors()[i].second;
        equal = equal && same_bits(vector.data(), fresh.vectors()[i].second->data(), vector.size());
    }
    for (std::size_t i = 0; i < fresh.scalars().size(); ++i)
        equal = equal && same_bits(*optimizer.scalars()[i].second, *fresh.scalars()[i].second);
    return equal;
}

} // namespace

TEST(a_run_in_pieces_of_steps) {
    compare_with_a_whole_run([](auto &trainer, const auto &data, const auto &validation) {
        Random random(1);
        const int calls = run_in_pieces(trainer, data, validation, options_for(5), nullptr,
                                        [&](RunOptions &o) { o.max_steps = 1 + random.below(4); });
        CHECK(calls > 4);
    });
}

TEST(a_run_pausing_at_every_chance) {
    compare_with_a_whole_run([](auto &trainer, const auto &data, const auto &validation) {
        RunOptions options = options_for(5);
        options.slice_seconds = 0;
        options.pause_each_epoch = true;
        CHECK(run_in_pieces(trainer, data, validation, options, nullptr) >= 5);
    });
}

TEST(validation_counts_as_work_until_the_clock_is_read) {
    const Problem<float> problem(8), other(20'000, 50);
    Trainer<float> trainer(check::small_network<float>(), LossSpec{}, check::optimizers()[3], 7);
    const RunOptions options{.batch_size = 8, .epochs = 100, .slice_seconds = 0};
    const Examples<float> data = problem.examples(), validation = other.examples();
    CHECK(trainer.run(data, validation, options, nullptr) == Status::paused);
    CHECK_EQ(trainer.state.epoch, 1);
}

TEST(a_run_interrupted_by_poll) {
    int interruptions = 0;
    compare_with_a_whole_run([&](auto &trainer, const auto &data, const auto &validation) {
        Random random(2);
        const Poll poll = [&] { return random.below(3) == 0; };
        interruptions += run_in_pieces(trainer, data, validation, options_for(5), poll) - 1;
    });
    CHECK(interruptions > 50);
}

TEST(a_poll_that_throws_leaves_the_last_finished_step) {
    int thrown = 0;
    compare_with_a_whole_run([&](auto &trainer, const auto &data, const auto &validation) {
        Random random(3);
        const Poll poll = [&]() -> bool {
            if (random.below(3) == 0)
                throw std::runtime_error("asked to stop");
            return false;
        };
        for (;;)
            try {
                if (trainer.run(data, validation, options_for(5), poll) == Status::epochs)
                    return;
            } catch (const std::runtime_error &) {
                CHECK_EQ(subnormal_mode(), 0U);
                ++thrown;
            }
    });
    CHECK(thrown > 50);
}

// Kept is what the network was at the end of the epoch with the lowest loss; the run goes on as
// without keeping.
TEST(the_best_epoch_is_kept) {
    const auto run = []<class T>(T, const OptimizerSpec &optimizer, bool validated) {
        const Problem<T> problem(kRows), other(kValidationRows, 50);
        const Examples<T> data = problem.examples(), none,
                          validation = validated ? other.examples() : none;
        RunOptions options = options_for(12);
        Trainer<T> keeping = make_trainer<T>(optimizer, 77), best = make_trainer<T>(optimizer, 77),
                   plain = make_trainer<T>(optimizer, 77);
        CHECK(!keeping.restore_best());
        keeping.run(data, validation, options, nullptr);
        const auto loss = [&](const EpochRecord &r) {
            return validated ? r.validation_loss : r.loss;
        };
        const auto lowest = std::ranges::min_element(keeping.records, {}, loss);
        CHECK_EQ(keeping.state.kept_epoch, lowest - keeping.records.begin() + 1);
        CHECK(same_bits(keeping.state.kept_loss, loss(*lowest)));
        CHECK_EQ(keeping.state.kept_validated, validated);

        const Index size = keeping.network().n_parameters();
        options.keep_best = false;
        plain.run(data, validation, options, nullptr);
        CHECK(same_bits(keeping.network().theta(), plain.network().theta(), size));
        CHECK(!plain.restore_best());
        options.epochs = keeping.state.kept_epoch;
        best.run(data, validation, options, nullptr);
        CHECK(keeping.restore_best());
        CHECK(same_bits(keeping.network().theta(), best.network().theta(), size));
        CHECK_EQ(keeping.network().n_steps, std::uint64_t{36});
    };
    for (const OptimizerSpec &optimizer : check::optimizers())
        for (const bool validated : {false, true}) {
            run(float(), optimizer, validated);
            run(double(), optimizer, validated);
        }
}

// A caller who judges by the loss sees what the trainer by itself does: kept epoch, stop, bits.
TEST(judging_outside_is_judging) {
    const auto run = []<class T>(T, std::int64_t epochs) {
        const Problem<T> problem(kRows);
        const Examples<T> data = problem.examples(), none;
        OptimizerSpec optimizer;
        optimizer.learning_rate = 0.5;
        RunOptions options = options_for(epochs);
        options.tol = 1e-3;
        options.patience = 3;
        Trainer<T> inside = make_trainer<T>(optimizer, 7), outside = make_trainer<T>(optimizer, 7);
        const Status expected = inside.run(data, none, options, nullptr);
        options.judge_outside = true;
        Status status = Status::epoch;
        while (status == Status::epoch) {
            CHECK(outside.run(data, none, options, nullptr) == Status::epoch);
            status = outside.judge_outside(outside.records.back().loss, options);
        }
        CHECK(status == expected);
        CHECK_EQ(inside.state.epoch, outside.state.epoch);
        CHECK_EQ(inside.state.kept_epoch, outside.state.kept_epoch);
        CHECK_EQ(inside.state.epochs_since_best, outside.state.epochs_since_best);
        CHECK(same_bits(inside.state.best_loss, outside.state.best_loss));
        CHECK(outside.restore_best());
        outside.forget_best(true);
        CHECK(!outside.restore_best());
        CHECK(!outside.state.has_best);
        return status;
    };
    CHECK(run(float(), 300) == Status::converged);
    CHECK(run(double(), 300) == Status::converged);
    CHECK(run(double(), 2) == Status::epochs);
}

TEST(single_steps_equal_a_run_in_order) {
    const auto run = []<class T>(T, const OptimizerSpec &optimizer) {
        const Problem<T> problem(300);
        Trainer<T> by_run = make_trainer<T>(optimizer), by_step = make_trainer<T>(optimizer);
        RunOptions options = options_for(7);
        options.shuffle = false;
        by_run.run(problem.examples(), Problem<T>::none(), options, nullptr);
        for (int i = 0; i < 7; ++i)
            CHECK(std::isfinite(by_step.step(problem.examples(), 1)));
        CHECK(same_bits(by_run.network().theta(), by_step.network().theta(),
                        by_run.network().n_parameters()));
        CHECK_EQ(by_run.network().n_steps, by_step.network().n_steps);
    };
    for (const OptimizerSpec &optimizer : check::optimizers()) {
        run(float(), optimizer);
        run(double(), optimizer);
    }
}

TEST(threads_do_not_change_a_bit) {
    constexpr Index kLevels = 20'000; // a table that shares cut
    const auto run = []<class T>(T, const auto &make_network) {
        Problem<T> problem(500), other(kValidationRows, 50);
        if (make_network()->embedding())
            check::put_codes(problem.X, kLevels), check::put_codes(other.X, kLevels);
        const Examples<T> data = problem.examples(), validation = other.examples();
        const auto trained = [&](int n_threads) {
            Trainer<T> trainer(make_network(), LossSpec{}, check::optimizers()[3], 7);
            RunOptions options{
                .batch_size = 200, .epochs = 3, .keep_best = true, .n_threads = n_threads};
            trainer.run(data, validation, options, nullptr);
            trainer.step(data, n_threads);
            return trainer;
        };
        Trainer<T> one = trained(1);
        const auto outputs = [&](int n_threads) {
            std::vector<T> out(kRows * 2);
            predict(one.network(), *data.X, nullptr, n_threads, out.data());
            return out;
        };
        for (const int n : {2, 3, 5}) {
            Trainer<T> more = trained(n);
            CHECK(same(one, more));
            CHECK(outputs(1) == outputs(n));
        }
    };
    run(float(), check::large_network<float>);
    run(double(), check::large_network<double>);
    run(float(), [] { return check::coded_network<float>(250, kLevels); });
    run(double(), [] { return check::coded_network<double>(250, kLevels); });
    run(float(), [] { return check::norm_network<float>(401); });
    run(double(), [] { return check::norm_network<double>(401); });
}

// Outputs, deltas and targets of one number lie side by side, those of one thread next to
// another's.
TEST(threads_write_their_own_of_a_single_output) {
    const auto run = []<class T>(T, const std::string &output, const LossSpec &loss) {
        const check::Table<T> X(501, 60, 1), y(501, 1, 2);
        const std::vector<LayerSpec> specs = {
            {.kind = "dense", .units = 400, .activation = "tanh", .initializer = "he_normal"},
            {.kind = "dense", .units = 1, .activation = output, .initializer = "he_normal"}};
        const auto theta = [&](bool shuffle, int n_threads) {
            const auto network = std::make_shared<Network<T>>(60, specs, 5);
            Trainer<T> trainer(network, loss, check::optimizers()[3], std::nullopt, 7);
            const RunOptions options{
                .batch_size = 300, .shuffle = shuffle, .epochs = 3, .n_threads = n_threads};
            trainer.run({X.source(), y.source(), nullptr}, Problem<T>::none(), options, nullptr);
            std::vector<T> all(network->theta(), network->theta() + network->n_parameters());
            all.resize(all.size() + 501);
            predict(*network, *X.source(), nullptr, n_threads, all.data() + all.size() - 501);
            return all;
        };
        for (const bool shuffle : {false, true})
            for (const int n_threads : {2, 3})
                CHECK(theta(shuffle, n_threads) == theta(shuffle, 1));
    };
    for (const LossKind kind : {LossKind::mse, LossKind::log_cosh}) {
        run(float(), "sigmoid", {.kind = kind});
        run(double(), "silu", {.kind = kind});
    }
}

// The open box holds what a step uses: masks, too, by their position in the whole batch.
TEST(evaluate_and_trace_have_the_same_bits) {
    const auto run = []<class T>(const std::shared_ptr<Network<T>> &network, bool training,
                                 int n_threads) {
        const Problem<T> problem(600);
        const Pass pass{.training = training, .seed = 3, .step = 4};
        const Trace<T> trace(*network, LossSpec{}, problem.examples(), pass);
        Buffer<T> gradient(network->n_parameters());
        double loss = 0;
        CHECK(evaluate(*network, LossSpec{}, problem.examples(), pass, nullptr, n_threads, loss,
                       gradient.data()));
        CHECK(same_bits(loss, trace.loss));
        CHECK(same_bits(gradient.data(), trace.gradient.data(), gradient.size()));
    };
    for (const bool training : {false, true})
        for (const int n_threads : {1, 3}) {
            run(check::large_network<float>(), training, n_threads);
            run(check::large_network<double>(), training, n_threads);
            run(check::norm_network<float>(650), training, n_threads);
            run(check::norm_network<double>(650), training, n_threads);
        }
}

TEST(a_diverged_step_changes_nothing) {
    const auto run = []<class T>(const auto &make_network, T, const OptimizerSpec &optimizer) {
        const Problem<T> problem(300);
        Problem<T> bad(300);
        bad.y(299, 1) = std::sqrt(std::numeric_limits<T>::max()) * 2; // its square is infinite
        Trainer<T> trainer = make_trainer<T>(optimizer, std::nullopt, 0, make_network("tanh"));
        Trainer<T> same_steps = make_trainer<T>(optimizer, std::nullopt, 0, make_network("tanh"));
        for (int i = 0; i < 3; ++i) {
            trainer.step(problem.examples(), 1);
            same_steps.step(problem.examples(), 1);
            CHECK(!std::isfinite(trainer.step(bad.examples(false), 1)));
            CHECK(same(trainer, same_steps));
        }
    };
    for (const OptimizerSpec &optimizer : check::optimizers()) {
        run(check::small_network<float>, float(), optimizer);
        run(check::small_network<double>, double(), optimizer);
        run(make_norm_network<float>, float(), optimizer);
        run(make_norm_network<double>, double(), optimizer);
    }
}

TEST(a_diverged_run_returns_to_the_start_of_its_epoch) {
    const auto run = []<class T>(T, const OptimizerSpec &optimizer) {
        const Problem<T> problem(kRows);
        Problem<T> bad(kRows);
        bad.y(kRows - 1, 0) = std::sqrt(std::numeric_limits<T>::max()) * 2;
        Trainer<T> trainer = make_trainer<T>(optimizer);
        RunOptions options = options_for(2);
        options.shuffle = false; // the bad row comes last
        trainer.run(problem.examples(), Problem<T>::none(), options, nullptr);
        const Buffer<T> before = [&] {
            Buffer<T> theta(trainer.network().n_parameters());
            std::copy_n(trainer.network().theta(), theta.size(), theta.data());
            return theta;
        }();
        options.epochs = 4;
        CHECK(trainer.run(bad.examples(false), Problem<T>::none(), options, nullptr) ==
              Status::diverged);
        CHECK(same_bits(before.data(), trainer.network().theta(), before.size()));
        CHECK(as_at_the_start(trainer));
        CHECK_EQ(trainer.network().n_steps, std::uint64_t{6});
        CHECK(trainer.state.step == 6 && trainer.state.epoch == 2 && !trainer.state.in_epoch);
        CHECK(trainer.divergence.epoch == 2 && trainer.divergence.step == 8);
        CHECK(!std::isfinite(trainer.divergence.loss));
        CHECK(trainer.run(problem.examples(), Problem<T>::none(), options, nullptr) ==
              Status::epochs); // and can go on
    };
    for (const OptimizerSpec &optimizer : check::optimizers()) {
        run(float(), optimizer);
        run(double(), optimizer);
    }
}

// The last update of an epoch may overflow, though each loss was finite.
TEST(infinite_parameters_are_a_divergence) {
    Problem<float> problem(100);
    for (float &y : problem.y.values)
        y *= 1e10F;
    Trainer<float> trainer = make_trainer<float>({.learning_rate = 3e38});
    Trainer<float> fresh = make_trainer<float>({.learning_rate = 3e38});
    CHECK(trainer.run(problem.examples(), Problem<float>::none(), options_for(1), nullptr) ==
          Status::diverged);
    CHECK(same_bits(trainer.network().theta(), fresh.network().theta(),
                    fresh.network().n_parameters()));
    CHECK_EQ(trainer.network().n_steps, std::uint64_t{0});
}

TEST(refused_data_return_the_start_of_the_epoch_or_of_the_call) {
    const auto run = []<class T>(T) {
        Problem<T> problem(kRows);
        Trainer<T> trainer = make_trainer<T>(check::optimizers()[3]);
        problem.X(kRows - 1, 3) = kNan<T>;
        RunOptions options = options_for(2);
        options.shuffle = false;
        const Index size = trainer.network().n_parameters();
        std::vector<T> kept(trainer.network().theta(), trainer.network().theta() + size);
        std::uint64_t steps = 0;
        // A call that made steps goes back to the epoch's start; one that made none changes
        // nothing, also inside an epoch that an earlier call began.
        for (const bool whole : {true, false}) {
            if (!whole) {
                options.max_steps = static_cast<std::int64_t>(
                    (kRows + options.batch_size - 1) / options.batch_size - 1);
                CHECK(trainer.run(problem.examples(), Problem<T>::none(), options, nullptr) ==
                      Status::max_steps);
                kept.assign(trainer.network().theta(), trainer.network().theta() + size);
                steps = static_cast<std::uint64_t>(options.max_steps);
            }
            options.max_steps = -1;
            CHECK(throws_data_error(
                [&] { trainer.run(problem.examples(), Problem<T>::none(), options, nullptr); }));
            CHECK(same_bits(trainer.network().theta(), kept.data(), size));
            CHECK_EQ(trainer.network().n_steps, steps);
        }
        CHECK(throws_data_error([&] { trainer.step(problem.examples(), 1); }));
        CHECK(same_bits(trainer.network().theta(), kept.data(), size));
        for (const T bad : {T(-1), kNan<T>}) {
            Problem<T> weighted(kRows);
            weighted.weight(kRows / 2, 0) = bad;
            CHECK(throws_data_error([&] { trainer.step(weighted.examples(), 1); }));
        }
    };
    run(float());
    run(double());
}

// Contract 5. A batch without weight moves nothing, not even momentum.
TEST(batches_without_weight_are_skipped) {
    const auto run = []<class T>(T, const OptimizerSpec &optimizer) {
        Problem<T> problem(600), first_half(300);
        first_half.X.values.assign(problem.X.values.begin(),
                                   problem.X.values.begin() + 300 * Problem<T>::kInputs);
        first_half.y.values.assign(problem.y.values.begin(),
                                   problem.y.values.begin() + 300 * Problem<T>::kOutputs);
        std::fill_n(problem.weight.values.begin(), 300, T(1));
        std::fill_n(problem.weight.values.begin() + 300, 300, T(0));
        RunOptions options = options_for(3);
        options.shuffle = false;
        Trainer<T> with = make_trainer<T>(optimizer), without = make_trainer<T>(optimizer);
        const Examples<T> data = problem.examples(),
                          half = {first_half.X.source(), first_half.y.source(), nullptr};
        with.run(data, Problem<T>::none(), options, nullptr);
        without.run(half, Problem<T>::none(), options, nullptr);
        CHECK_EQ(with.network().n_steps, std::uint64_t{3});
        CHECK(same_bits(with.network().theta(), without.network().theta(),
                        with.network().n_parameters()));
        CHECK(same_bits(with.records.back().loss, without.records.back().loss));
        std::ranges::fill(problem.weight.values, T(0));
        CHECK(throws_data_error([&] { with.step(problem.examples(), 1); }));
    };
    for (const OptimizerSpec &optimizer : check::optimizers()) {
        run(float(), optimizer);
        run(double(), optimizer);
    }
}

// On any number of threads: once a block, on the calling thread; what it throws is the caller's,
// after whole steps, and the run goes on from there.
TEST(a_loss_from_outside) {
    const auto run = []<class T>(T, int n_threads) {
        const Problem<T> problem(600);
        const Examples<T> data = problem.examples();
        RunOptions options{.batch_size = 300, .epochs = 3, .n_threads = n_threads};
        const auto trainer_of = [](std::shared_ptr<check::SquaredError> function) {
            LossSpec loss;
            loss.kind = LossKind::custom;
            loss.function = std::move(function);
            return Trainer<T>(check::large_network<T>(), loss, check::optimizers()[3], 7);
        };
        const auto counted = std::make_shared<check::SquaredError>();
        Trainer<T> whole = trainer_of(counted), failing = trainer_of(nullptr);
        whole.run(data, Problem<T>::none(), options, nullptr);
        CHECK_EQ(counted->n_calls(), 3 * 2 * 2); // epochs, batches, blocks
        bool refused = false;
        try {
            failing.step(data, n_threads);
        } catch (const std::invalid_argument &) {
            refused = true; // no function
        }
        CHECK(refused);
        Trainer<T> paused = trainer_of(std::make_shared<check::SquaredError>(7));
        bool thrown = false;
        try {
            paused.run(data, Problem<T>::none(), options, nullptr);
        } catch (const std::domain_error &) {
            thrown = true;
        }
        CHECK(thrown);
        CHECK_EQ(paused.state.step, 3);
        paused.run(data, Problem<T>::none(), options, nullptr);
        CHECK(same(whole, paused));
    };
    for (const int n_threads : {1, 2, 5}) {
        run(float(), n_threads);
        run(double(), n_threads);
    }
}
