// The features of a growing set of images.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "graph/graph.hpp"
#include "graph/kernel_tables.hpp"
#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

// What the bounds of the first `size` images leave to integers, and the images that these need, ascending.
struct Candidates {
    Screened screened;
    Request request;
    Stats stats;
    std::size_t size = 0;
    std::vector<std::int64_t> images;
};

// 128 bits of an image's bytes: what is kept of an image that has no sums and is not kept itself.
using ImageDigest = std::array<std::uint64_t, 2>;

// Block sums of images that arrive one after another, computed while each is in the cache. Safe from many
// threads.
class Features {
  public:
    // Buffers for `expected` images are allocated at once; more images may follow.
    explicit Features(std::size_t expected = 0) : expected_(expected) {}

    // Appends the images of batch 0. Where `copies` is given, they are copied there (copy_image), one after
    // another. Throws where the shape is not that of the earlier images; the layout may differ. If it throws,
    // nothing was appended.
    void append(KernelTables kernels, const panels::Images& images, const Shape& shape, int threads,
                std::uint8_t* copies);

    // Appends images that `read` writes to a buffer, none of which is kept: see Pyramid::append_read.
    void append_read(KernelTables kernels, const panels::Images& images, const Shape& shape,
                     std::size_t count, int threads, const Pyramid::Read& read,
                     std::vector<std::uint8_t>& constant);

    std::size_t size() const;

    // Returns the pairs that bounds leave, without reading any image: `decide` reads those of
    // `Candidates::images`.
    Candidates screen(KernelTables kernels, const Request& request) const;

    // Position of the first of `images` whose sums are not those that image indices[position] had, bit for
    // bit; their number where there is none. Where bounds are not applicable, digests of the bytes are
    // compared instead; an image that was copied (append with `copies`) has none, and counts as equal.
    std::size_t first_mismatch(KernelTables kernels, const panels::Images& images, const Shape& shape,
                               const std::vector<std::size_t>& indices, int threads) const;

    // Calls use(pyramid), with nullptr where bounds are not applicable. Throws unless the features are of
    // that number of images of that shape.
    template <class Use>
    auto with(const Shape& shape, std::size_t images, Use&& use) const {
        const std::lock_guard lock(mutex_);
        check(shape, images);
        return use(static_cast<const Pyramid*>(pyramid_.get()));
    }

  private:
    void check_shape(const Shape& shape) const;
    void check(const Shape& shape, std::size_t images) const;

    std::unique_ptr<Pyramid> make_pyramid(const Shape& shape) const;
    // Keeps the digests of the images that are appended next, if there are any.
    void keep(const std::vector<ImageDigest>& digests);

    const std::size_t expected_;
    mutable std::mutex mutex_;
    std::size_t size_ = 0;
    std::optional<Shape> shape_;  // of the first images
    std::unique_ptr<Pyramid> pyramid_;
    // Without a pyramid: the digest of each image, none for those that were copied; it may be shorter than
    // size_.
    std::vector<std::optional<ImageDigest>> digests_;
};

}  // namespace memcore::graph
