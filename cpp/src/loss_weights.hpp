// What the sample weights make of each column's loss and gradient.
#pragma once

#include "deltarule/types.hpp"

namespace deltarule::losses {

// What each column counts: w_j · in_loss in its loss, w_j · share in the gradient; w_j = 1 if w is
// null.
template <class T> class Weights {
  public:
    Weights(const T *w, double in_loss, double share) : w_(w), in_loss_(in_loss), share_(share) {}
    bool uniform() const { return w_ == nullptr; }
    double share() const { return share_; } // in the gradient, of weight 1
    double in_gradient(Index j) const { return weight(j) * share_; }
    // A column of weight 0 costs 0 even where its loss is not finite.
    double loss(Index j, double value) const {
        const double w = weight(j);
        return w == 0 ? 0 : w * in_loss_ * value;
    }

  private:
    double weight(Index j) const { return w_ ? static_cast<double>(w_[j]) : 1.0; }

    const T *w_;
    double in_loss_, share_;
};

} // namespace deltarule::losses
