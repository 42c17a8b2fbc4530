// A training step allocates nothing. Every way to the heap is replaced by one that counts.
#include "check.hpp"
#include "problem.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<bool> counting{false};
std::atomic<long> n_allocations{0};

void count() {
    if (counting.load(std::memory_order_relaxed))
        ++n_allocations;
}
} // namespace

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Eigen's temporaries come from malloc, not from operator new.
extern "C" void *__libc_malloc(std::size_t size);
extern "C" void *malloc(std::size_t size) noexcept {
    count();
    return __libc_malloc(size);
}
#endif

// Not inlined: GCC would take free in one and new in the other for a mismatch.
[[gnu::noinline]] void *operator new(std::size_t size) {
    count();
    if (void *p = std::malloc(size))
        return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void *operator new(std::size_t size, std::align_val_t alignment) {
    count();
    const auto a = static_cast<std::size_t>(alignment);
    if (void *p = std::aligned_alloc(a, (size + a - 1) / a * a))
        return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void *operator new[](std::size_t size) { return ::operator new(size); }
[[gnu::noinline]] void *operator new[](std::size_t size, std::align_val_t alignment) {
    return ::operator new(size, alignment);
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t, std::align_val_t) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete[](void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void *p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void *p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void *p, std::size_t, std::align_val_t) noexcept {
    std::free(p);
}

using namespace deltarule;
using check::Problem;

namespace {

template <class F> long allocations_in(F &&f) {
    n_allocations = 0;
    counting = true;
    f();
    counting = false;
    return n_allocations;
}

template <class T>
Trainer<T> make_trainer(std::shared_ptr<Network<T>> network, const OptimizerSpec &optimizer) {
    Trainer<T> trainer(std::move(network), LossSpec{}, optimizer, std::nullopt, 0.99);
    trainer.records.reserve(10'000); // a finished epoch adds a record
    return trainer;
}

} // namespace

TEST(the_count_sees_every_way_to_the_heap) {
    CHECK(allocations_in([] { ::operator delete(::operator new(1)); }) >= 1);
    CHECK(allocations_in([] { ::operator delete[](::operator new[](9)); }) >= 1);
    CHECK(allocations_in([] { const Buffer<float> buffer(3); }) >= 1);
    CHECK(allocations_in([] { const std::vector<double> v(7); }) >= 1);
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(allocations_in([] { const Vector<double> v(7); }) >= 1);
#endif
    CHECK_EQ(allocations_in([] {}), 0);
}

// However many steps a call of run makes, and across the ends of epochs.
TEST(steps_of_a_run_allocate_nothing) {
    const auto run = []<class T>(std::shared_ptr<Network<T>> network,
                                 const OptimizerSpec &optimizer, Index batch_size) {
        Problem<T> problem(700), validation(300, 7);
        if (network->embedding())
            check::put_codes(problem.X), check::put_codes(validation.X);
        Trainer<T> trainer = make_trainer(std::move(network), optimizer);
        const Examples<T> data = problem.examples(), other = validation.examples();
        RunOptions options{.batch_size = batch_size, .epochs = 100'000, .keep_best = true};
        int polls = 0;
        const Poll poll = [&polls] { return ++polls < 0; };
        const auto steps = [&](std::int64_t n) {
            options.max_steps = n;
            CHECK(trainer.run(data, other, options, poll) == Status::max_steps);
        };
        steps(1);
        const long fixed = allocations_in([&] { steps(1); });
        CHECK_EQ(allocations_in([&] { steps(400); }), fixed);
    };
    for (const OptimizerSpec &optimizer : check::optimizers())
        for (const Index batch_size : {7, 32, 300}) {
            run(check::small_network<float>("silu"), optimizer, batch_size);
            run(check::small_network<double>("silu"), optimizer, batch_size);
            run(check::coded_network<float>(), optimizer, batch_size);
            run(check::coded_network<double>(), optimizer, batch_size);
            run(check::residual_network<float>(), optimizer, batch_size);
            run(check::residual_network<double>(), optimizer, batch_size);
            run(check::norm_network<float>(), optimizer, batch_size);
            run(check::norm_network<double>(), optimizer, batch_size);
        }
}

TEST(steps_with_a_loss_from_outside_allocate_nothing) {
    const Problem<float> problem(700);
    LossSpec loss;
    loss.kind = LossKind::custom;
    loss.function = std::make_shared<check::SquaredError>();
    Trainer<float> trainer(check::small_network<float>(), loss, check::optimizers()[3],
                           std::nullopt);
    trainer.records.reserve(10'000);
    RunOptions options{.batch_size = 300, .epochs = 100'000};
    const Examples<float> data = problem.examples();
    const auto steps = [&](std::int64_t n) {
        options.max_steps = n;
        CHECK(trainer.run(data, data, options, nullptr) == Status::max_steps);
    };
    steps(1);
    const long fixed = allocations_in([&] { steps(1); });
    CHECK_EQ(allocations_in([&] { steps(100); }), fixed);
}

TEST(steps_of_threads_allocate_nothing) {
    for (const auto &network :
         {check::large_network<float>(), check::coded_network<float>(401),
          check::residual_network<float>(401, 370), check::norm_network<float>(401)}) {
        Problem<float> problem(512);
        if (network->embedding())
            check::put_codes(problem.X);
        Trainer<float> trainer = make_trainer(network, check::optimizers()[3]);
        const Examples<float> data = problem.examples();
        RunOptions options{.batch_size = 128, .epochs = 100'000, .keep_best = true, .n_threads = 3};
        const auto steps = [&](std::int64_t n) {
            options.max_steps = n;
            trainer.run(data, Problem<float>::none(), options, nullptr);
        };
        steps(1);
        const long fixed = allocations_in([&] { steps(2); });
        CHECK_EQ(allocations_in([&] { steps(12); }), fixed);
    }
}

TEST(a_single_step_allocates_nothing) {
    const auto run = []<class T>(std::shared_ptr<Network<T>> network,
                                 const OptimizerSpec &optimizer, Index rows) {
        const Problem<T> problem(rows);
        Trainer<T> trainer = make_trainer(std::move(network), optimizer);
        const Examples<T> data = problem.examples();
        trainer.step(data, 1);
        CHECK_EQ(allocations_in([&] {
                     for (int i = 0; i < 200; ++i)
                         trainer.step(data, 1);
                 }),
                 0);
        const Buffer<T> gradient(trainer.network().n_parameters());
        CHECK_EQ(allocations_in([&] { trainer.apply(gradient.data(), 0); }), 0);
    };
    for (const OptimizerSpec &optimizer : check::optimizers())
        for (const Index rows : {5, 300}) {
            run(check::small_network<float>(), optimizer, rows);
            run(check::small_network<double>(), optimizer, rows);
            run(check::norm_network<float>(), optimizer, rows);
            run(check::norm_network<double>(), optimizer, rows);
        }
}
