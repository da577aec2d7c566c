#include "graph/features.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "panels/copy_image.hpp"
#include "runtime/argument_error.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::graph {
namespace {

void copy_all(const panels::Images& images, std::uint8_t* to, int threads) {
    constexpr std::size_t kBytesPerUnit = 1 << 20;
    const std::size_t bytes = panels::image_bytes(images);
    const std::size_t step = std::max<std::size_t>(1, kBytesPerUnit / bytes);
    parallel_for((images.count + step - 1) / step, threads, [&](std::size_t unit, std::size_t) {
        for (std::size_t i = unit * step; i < std::min(images.count, (unit + 1) * step); ++i)
            panels::copy_image(images, i, to + i * bytes);
    });
}

}  // namespace

std::unique_ptr<Pyramid> Features::make_pyramid(const Shape& shape) const {
    auto pyramid = std::make_unique<Pyramid>(shape);
    pyramid->reserve(expected_);
    return pyramid;
}

void Features::append(KernelTables kernels, const panels::Images& images, const Shape& shape, int threads,
                      std::uint8_t* copies) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Pyramid> made;
    if (shape_) {
        check_shape(shape);
    } else if (bounds_applicable(shape)) {
        made = make_pyramid(shape);
    }
    if (Pyramid* pyramid = made ? made.get() : pyramid_.get(); pyramid != nullptr) {
        pyramid->append(*kernels.bounds, images, shape, 0, images.count, threads, copies);
    } else if (copies != nullptr) {
        copy_all(images, copies, threads);
    }
    if (made) pyramid_ = std::move(made);
    shape_ = shape;
    size_ += images.count;
}

void Features::append_read(KernelTables kernels, const panels::Images& images, const Shape& shape,
                           std::size_t count, int threads, const Pyramid::Read& read,
                           std::vector<std::uint8_t>& constant) {
    const std::lock_guard lock(mutex_);
    if (shape_) check_shape(shape);
    std::unique_ptr<Pyramid> made;
    if (!pyramid_ && bounds_applicable(shape)) made = make_pyramid(shape);
    Pyramid* pyramid = made ? made.get() : pyramid_.get();
    if (pyramid != nullptr) {
        pyramid->append_read(*kernels.bounds, images, shape, count, threads, read, constant);
    } else {
        const std::size_t bytes = panels::image_bytes(images);
        AlignedArray<std::uint8_t> image(bytes);
        constant.clear();
        while (constant.size() < count && read(constant.size(), image.data())) {
            check_interrupt();
            const std::uint8_t* data = image.data();
            constant.push_back(std::memcmp(data, data + shape.channels, bytes - shape.channels) == 0);
        }
    }
    if (made) pyramid_ = std::move(made);
    shape_ = shape;
    size_ += static_cast<std::size_t>(std::count(constant.begin(), constant.end(), 0));
}

std::size_t Features::size() const {
    const std::lock_guard lock(mutex_);
    return size_;
}

Candidates Features::screen(KernelTables kernels, const Request& request) const {
    Candidates left;
    left.request = request;
    {
        const std::lock_guard lock(mutex_);
        left.size = size_;
        left.screened = graph::screen(kernels, pyramid_.get(), size_, request, left.stats);
    }
    std::vector<std::uint8_t> needed(left.size, left.screened.all ? 1 : 0);
    for (const Pair& pair : left.screened.pairs) needed[pair.i] = needed[pair.j] = 1;
    for (std::size_t i = 0; i < left.size; ++i) {
        if (needed[i] != 0) left.images.push_back(static_cast<std::int64_t>(i));
    }
    return left;
}

std::size_t Features::first_mismatch(KernelTables kernels, const panels::Images& images, const Shape& shape,
                                     const std::vector<std::size_t>& indices, int threads) const {
    if (indices.empty()) return 0;
    const std::lock_guard lock(mutex_);
    if (*std::max_element(indices.begin(), indices.end()) >= size_)
        throw ArgumentError("indices lead beyond the images that were seen");
    check_shape(shape);
    if (!pyramid_) return indices.size();
    Pyramid seen(shape);
    seen.append(*kernels.bounds, images, shape, 0, images.count, threads);
    return pyramid_->first_mismatch(seen, indices);
}

void Features::check_shape(const Shape& shape) const {
    if (!(*shape_ == shape)) throw ArgumentError("features: taken from images of another shape");
}

void Features::check(const Shape& shape, std::size_t images) const {
    if (!shape_ || size_ != images) {
        throw ArgumentError("features: taken from another number of images, " + std::to_string(size_) +
                            ", not " + std::to_string(images));
    }
    check_shape(shape);
}

}  // namespace memcore::graph
