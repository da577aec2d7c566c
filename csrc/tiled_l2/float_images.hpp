// Tiled l2 of float images in [0, 1]: direct differences, in the order that contract.hpp fixes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "panels/contract.hpp"
#include "panels/images.hpp"
#include "tiled_l2/tiled_l2.hpp"

namespace memcore::tiled_l2 {

enum class FloatType { kFloat32, kFloat16, kBfloat16 };

constexpr std::size_t element_bytes(FloatType type) { return type == FloatType::kFloat32 ? 4 : 2; }

// `count` elements to float32; every value of both half types has an exact one.
void to_float32(FloatType type, const std::uint8_t* from, std::size_t count, float* to);

// Index of the first of `count` elements that is NaN or outside [0, 1], or `count`.
std::size_t first_outside_unit(FloatType type, const std::uint8_t* data, std::size_t count);

// The position of an element; `element` counts those of the row, or of the channel's row.
struct Element {
    std::size_t batch = 0, image = 0, row = 0, element = 0;
    float value = 0;
};

// The first element of the images that is NaN or outside [0, 1].
std::optional<Element> first_outside_unit(FloatType type, const Images& images);

// out[b][i][j] = max over tiles of sqrt(sum (x - y)^2 / K). Strides and row_bytes count bytes, as for uint8.
void pairwise_float(const Kernels& kernels, FloatType type, Images a, const Images* other, Grid grid,
                    Matrix<float> out, int threads);

}  // namespace memcore::tiled_l2
