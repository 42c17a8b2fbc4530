// The parameters that are trained in the network, for as long as a call trains them.
#pragma once

#include "deltarule/trainer.hpp"

namespace deltarule {

template <class T> struct Trainer<T>::Raw {
    Trainer &trainer;
    bool average_after = trainer.state.average_in_network; // whether to put the average back

    explicit Raw(Trainer &t) : trainer(t) { trainer.use_raw(); }
    Raw(const Raw &) = delete;
    Raw &operator=(const Raw &) = delete;
    ~Raw() {
        if (average_after)
            trainer.use_average();
    }
};

} // namespace deltarule
