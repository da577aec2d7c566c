// Just enough of a test framework: counted checks, a seeded generator, and int64 oracles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "panels/images.hpp"

namespace memcore::tests {

inline int passed = 0, failed = 0;

inline void check(bool ok, const char* what, const char* file, int line) {
    if (ok) {
        ++passed;
        return;
    }
    ++failed;
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
}

#define CHECK(condition) ::memcore::tests::check((condition), #condition, __FILE__, __LINE__)

// A set of images that owns exactly its bytes, so that a sanitizer sees each read beyond them.
struct ImageSet {
    std::vector<std::uint8_t> bytes;
    panels::Images images;
    panels::Grid grid;
    std::size_t channels = 1;

    ImageSet(std::size_t count, std::size_t tile_h, std::size_t tile_w, std::size_t rows, std::size_t columns,
             std::size_t image_channels, bool planar)
        : channels(image_channels) {
        const std::size_t height = tile_h * rows, width = tile_w * columns;
        bytes.resize(count * height * width * channels);
        images.data = bytes.data();
        images.count = count;
        images.height = height;
        images.planes = planar ? channels : 1;
        images.row_bytes = planar ? width : width * channels;
        images.row_stride = static_cast<std::ptrdiff_t>(images.row_bytes);
        images.plane_stride = static_cast<std::ptrdiff_t>(planar ? height * width : 0);
        images.image_stride = static_cast<std::ptrdiff_t>(height * width * channels);
        grid = {rows, columns, tile_h, images.row_bytes / columns, images.planes};
    }
    void randomise(std::mt19937& random, int lowest = 0, int highest = 255) {
        std::uniform_int_distribution<int> value(lowest, highest);
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(value(random));
    }
    void fill(std::size_t image, std::uint8_t value) {
        const auto size = static_cast<std::size_t>(images.image_stride);
        for (std::size_t k = 0; k < size; ++k) bytes[image * size + k] = value;
    }
};

inline std::uint64_t oracle_ssd(const ImageSet& a, std::size_t i, const ImageSet& b, std::size_t j) {
    std::uint64_t largest = 0;
    for (std::size_t ty = 0; ty < a.grid.tile_rows; ++ty) {
        for (std::size_t tx = 0; tx < a.grid.tile_columns; ++tx) {
            std::uint64_t sum = 0;
            for (std::size_t l = 0; l < a.grid.lines(); ++l) {
                const std::uint8_t* x = tile_line(a.images, a.grid, a.images.image(0, i), ty, tx, l);
                const std::uint8_t* y = tile_line(b.images, b.grid, b.images.image(0, j), ty, tx, l);
                for (std::size_t k = 0; k < a.grid.line_bytes; ++k) {
                    const std::int64_t d = static_cast<std::int64_t>(x[k]) - y[k];
                    sum += static_cast<std::uint64_t>(d * d);
                }
            }
            largest = sum > largest ? sum : largest;
        }
    }
    return largest;
}

}  // namespace memcore::tests
