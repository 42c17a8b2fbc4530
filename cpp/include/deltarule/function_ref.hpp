// A reference to something callable: no copy and no allocation, valid as long as what it refers to.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace deltarule {

template <class Signature> class FunctionRef;

template <class R, class... Args> class FunctionRef<R(Args...)> {
  public:
    FunctionRef() = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
    FunctionRef(F &&f) // NOLINT: implicit, so that a lambda can be passed
        : object_(const_cast<void *>(static_cast<const void *>(std::addressof(f)))),
          call_([](void *object, Args... args) -> R {
              return (*static_cast<std::remove_reference_t<F> *>(object))(
                  std::forward<Args>(args)...);
          }) {}

    explicit operator bool() const { return call_ != nullptr; }
    R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

  private:
    void *object_ = nullptr;
    R (*call_)(void *, Args...) = nullptr;
};

} // namespace deltarule
