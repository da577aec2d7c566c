// The set-up and release of matrix units around calls of `dot`.
#pragma once

#include "panels/contract.hpp"

namespace memcore::panels {

// Matrix units are set up while an object of this class lives, in the thread that made it.
class Products {
  public:
    explicit Products(const Kernels& kernels) : kernels_(kernels) {
        if (kernels_.enter != nullptr) kernels_.enter();
    }
    ~Products() {
        if (kernels_.leave != nullptr) kernels_.leave();
    }
    Products(const Products&) = delete;
    Products& operator=(const Products&) = delete;

  private:
    const Kernels& kernels_;
};

}  // namespace memcore::panels
