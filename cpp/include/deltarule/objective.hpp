// The loss over a batch of the user's rows, and its gradient: gather, forward, loss, delta
// recursion, gradient, one block of 256 rows at a time, or, where a BatchNorm needs a whole batch
// in training, all of it layer by layer. Training, evaluation and the open box all go through it.
#pragma once

#include "deltarule/dataset.hpp"
#include "deltarule/loss.hpp"
#include "deltarule/team.hpp"
#include "deltarule/workspace.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>

namespace deltarule {

// Data that cannot be trained on; the message names the argument, the place and the value.
struct DataError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

// What messages call the arrays.
struct ArgumentNames {
    const char *X = "X", *y = "y", *weight = "sample_weight";
};

// Rows with targets and, optionally, weights (one column).
template <class T> struct Examples {
    const Source<T> *X = nullptr, *y = nullptr, *weight = nullptr;
    ArgumentNames names = {};
};

// Rows of a batch: positions [first, first + count) of an order.
struct Batch {
    const RowOrder *order;
    Index first, count;
};

// Asked between blocks of rows: true abandons the work.
using Poll = std::function<bool()>;

// What becomes of the gradient of a batch.
template <class T> struct GradientUse {
    // Memory laid out like theta. Holds ∂L/∂θ afterwards, unless `apply` took it from cache.
    T *gradient;
    // Asked with the loss before anything is applied: false leaves it at that.
    FunctionRef<bool(double loss)> accept;
    FunctionRef<void(const ParameterRange &range, const T *values)> apply;
    std::array<const T *, 3> touched = {}; // what `apply` reads, laid out like theta
};

// How many of `rows` rows go through a network together: its workspace must hold as many.
template <class T> Index rows_together(const Network<T> &network, const Pass &pass, Index rows) {
    return pass.training && network.has_batch_norm() ? rows : std::min(rows, kRowBlock);
}

template <class T> class Objective {
  public:
    // Throws std::invalid_argument if the loss does not fit the network's output or y.
    Objective(const Network<T> &network, const LossSpec &loss, Index target_width);

    // Σ w_i over the batch: its size if there are no weights.
    double total_weight(const Examples<T> &data, const Batch &batch, Workspace<T> &w) const;

    // L over the batch, given Σ w_i > 0, and what `use` asks for. False if abandoned by poll,
    // before anything is applied. Throws DataError.
    bool evaluate(const Examples<T> &data, const Batch &batch, double total_weight,
                  const Pass &pass, Workspace<T> &w, Team &team, const Poll &poll, double &loss,
                  const GradientUse<T> *use) const;

    // Whether each block of rows goes through a function from outside, which may take its time.
    bool calls_out() const { return loss_.is_custom(); }

    // The same for a workspace that holds the whole batch and keeps everything: every z, a and
    // delta.
    double trace(const Examples<T> &data, const Pass &pass, Workspace<T> &w, T *gradient) const;

  private:
    struct Block;
    void apply_small(const Examples<T> &data, const Batch &batch, double total_weight, Pass pass,
                     Workspace<T> &w, double &loss, const GradientUse<T> &use) const;
    bool add_gradient(Index done, Index n, Index n_rows, double loss, const Pass &pass,
                      Workspace<T> &w, Team &team, const Poll &poll,
                      const GradientUse<T> &use) const;
    void read(const Examples<T> &data, const Batch &batch, Workspace<T> &w) const;
    void gather(const Examples<T> &data, const Batch &batch, Workspace<T> &w, Index column) const;
    [[noreturn]] void refuse_target(const Examples<T> &data) const;
    void losses(Index first, Index n, bool weighted, double total_weight, Workspace<T> &w,
                Keep keep) const;

    const Network<T> &network_;
    Loss loss_;
};

// Throws DataError for a batch of one row in training, if there is a BatchNorm.
template <class T>
void check_rows(const Network<T> &network, const Pass &pass, Index rows, const char *name);

// Throws DataError for the first value of `source` that is not finite in T.
template <class T> [[noreturn]] void refuse(const Source<T> &source, const std::string &name);

// Throws DataError for the first value of X that is no code where `embedding` needs one, NaN aside
// with nan_passes.
template <class T>
[[noreturn]] void refuse_codes(const Embedding<T> &embedding, const Source<T> &X,
                               const std::string &name, bool nan_passes);

} // namespace deltarule
