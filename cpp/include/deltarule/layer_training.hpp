// How a layer is trained, apart from what it computes.
#pragma once

namespace deltarule {

struct LayerTraining {
    double l1 = 0, l2 = 0;           // adds l1 Σ|W| + l2/2 ΣW² to the loss, over its weights
    double learning_rate_factor = 1; // of the optimiser's steps; 0: frozen, it changes by no bit

    bool frozen() const { return learning_rate_factor == 0; }
    bool operator==(const LayerTraining &) const = default;
};

} // namespace deltarule
