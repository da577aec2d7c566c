// Block sums of images at a few resolutions, as the vectors that contract.hpp bounds distances with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "graph/contract.hpp"
#include "panels/images.hpp"
#include "runtime/aligned.hpp"

namespace memcore::graph {

// One resolution: side x side blocks a tile and channel. An image is groups x rows x kLanes floats; the last
// row of each group is the norm of what the blocks do not show.
struct Level {
    std::size_t side = 1, rows = 0, stride = 0;
    std::vector<float> scale;           // 1 / sqrt(bytes) of each block
    std::vector<double> inverse;        // 1 / bytes of each block
    std::vector<std::uint32_t> parent;  // for each block of the finest level, the block that it lies in
    AlignedArray<float> vectors;

    const float* image(std::size_t i) const { return vectors.data() + i * stride; }
};

// What does not change from image to image.
struct Shape {
    panels::Grid grid;
    std::size_t channels = 1;       // of the image
    std::size_t line_channels = 1;  // interleaved in a line: `channels`, or 1 where planes are separate
    std::size_t tile_width() const { return grid.line_bytes / line_channels; }
    std::size_t tiles() const { return grid.tile_rows * grid.tile_columns; }
    bool operator==(const Shape& other) const;
};

class Pyramid {
  public:
    Pyramid(const Shape& shape);

    // Tiles larger than this are not worth bounds, and their sums would not fit.
    static bool supports(const Shape& shape) {
        return shape.grid.line_bytes <= kMaxCallBytes && shape.grid.tile_bytes() <= kMaxTileBytes;
    }

    // Appends images [first, first + count) of batch 0, reading each once, in order. `layout` equals the
    // pyramid's shape, except that its channels may be in the other order. Where `copies` is given, each
    // image is copied there (copy_image) while it is in the cache.
    void append(const Kernels& kernels, const panels::Images& images, const Shape& layout, std::size_t first,
                std::size_t count, int threads, std::uint8_t* copies = nullptr);

    // Makes an empty pyramid one of `count` images, but takes the features of those at `indices`, ascending,
    // alone; `complete` takes the others.
    void begin(const Kernels& kernels, const panels::Images& images, const Shape& layout, std::size_t count,
               const std::vector<std::uint32_t>& indices, int threads);
    void complete(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                  const std::vector<std::uint32_t>& indices, int threads);

    // Appends images that are read into one buffer a thread: read(i, to) writes image i < count and returns
    // whether it exists. The first that does not ends the images. Images whose pixels are all equal are
    // marked as constant and not appended. `images` describes the layout of one. Returns how many exist.
    using Read = std::function<bool(std::size_t image, std::uint8_t* to)>;
    std::size_t append_read(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                            std::size_t count, int threads, const Read& read,
                            std::vector<std::uint8_t>& constant);

    // Position of the first image of `other` whose sums are not those of image images[position] here, bit for
    // bit; other.size() where all are the same.
    std::size_t first_mismatch(const Pyramid& other, const std::vector<std::size_t>& images) const;

    // Allocates buffers for that number of images in all. Without it the buffers double again and again, each
    // time copied and zeroed.
    void reserve(std::size_t images);

    // Appends those images of another pyramid of the same shape.
    void append(const Pyramid& other, const std::vector<std::uint32_t>& indices);

    std::size_t size() const { return size_; }
    std::size_t groups() const { return groups_; }
    const Shape& shape() const { return shape_; }
    const std::vector<Level>& levels() const { return levels_; }  // coarse to fine

    // A computed sum of squares of level `level` above this proves that the tile's ssd exceeds ssd_max.
    float limit(std::size_t level, std::uint64_t ssd_max) const;
    // The upper bound's: a computed sum of at most this proves that the tile's ssd is at most ssd_max.
    // Negative where no sum could.
    float sure_limit(std::size_t level, std::uint64_t ssd_max) const;

  private:
    // What rounding may take from a distance of two vectors, and from a sum of their squares, of
    // contract.hpp; doubled.
    struct Margin {
        double distance, relative;
    };
    Margin margin(std::size_t level) const;

    struct Scratch;
    // mapping(k) returns the index of the k-th image in `images` and in the pyramid.
    template <class Mapping>
    void compute_many(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                      std::size_t count, int threads, Mapping&& mapping, std::uint8_t* copies);
    void compute(const Kernels& kernels, const panels::Images& images, const Shape& layout, std::size_t from,
                 std::size_t to, Scratch& scratch, std::uint8_t* copy);
    void sum_blocks(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                    const std::uint8_t* image, Scratch& scratch, std::uint8_t* copy) const;

    const Shape shape_;
    std::size_t groups_, size_ = 0, capacity_ = 0;
    std::vector<Level> levels_;
    std::vector<std::size_t>
        column_starts_;  // first pixel of each block of the finest level within a tile's row, and the end
};

}  // namespace memcore::graph
