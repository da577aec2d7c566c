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

// Each step is a bijection of the state and of the word: a change within eight bytes is always noticed, any
// other unless 128 bits collide. It is no defence against an image that was made to collide.
ImageDigest digest_image(const std::uint8_t* image, std::size_t bytes) {
    ImageDigest digest{0x9E3779B97F4A7C15ULL, 0xC2B2AE3D27D4EB4FULL};
    for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, image + at, std::min(sizeof word, bytes - at));
        digest[0] = (digest[0] ^ word) * 0xFF51AFD7ED558CCDULL;
        digest[0] ^= digest[0] >> 32;
        digest[1] = (digest[1] ^ word) * 0xC4CEB9FE1A85EC53ULL;
        digest[1] ^= digest[1] >> 29;
    }
    return digest;
}

std::vector<ImageDigest> digest_images(const panels::Images& images) {
    const std::size_t bytes = panels::image_bytes(images);
    std::vector<std::uint8_t> image(bytes);
    std::vector<ImageDigest> digests(images.count);
    for (std::size_t i = 0; i < images.count; ++i) {
        panels::copy_image(images, i, image.data());
        digests[i] = digest_image(image.data(), bytes);
    }
    return digests;
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
    std::vector<ImageDigest> digests;
    if (shape_) {
        check_shape(shape);
    } else if (bounds_applicable(shape)) {
        made = make_pyramid(shape);
    }
    if (Pyramid* pyramid = made ? made.get() : pyramid_.get(); pyramid != nullptr) {
        pyramid->append(*kernels.bounds, images, shape, 0, images.count, threads, copies);
    } else if (copies != nullptr) {
        copy_all(images, copies, threads);
    } else {
        digests = digest_images(images);
    }
    if (made) pyramid_ = std::move(made);
    shape_ = shape;
    keep(digests);
    size_ += images.count;
}

void Features::append_read(KernelTables kernels, const panels::Images& images, const Shape& shape,
                           std::size_t count, int threads, const Pyramid::Read& read,
                           std::vector<std::uint8_t>& constant) {
    const std::lock_guard lock(mutex_);
    if (shape_) check_shape(shape);
    std::unique_ptr<Pyramid> made;
    std::vector<ImageDigest> digests;
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
            if (constant.back() == 0) digests.push_back(digest_image(data, bytes));
        }
    }
    if (made) pyramid_ = std::move(made);
    shape_ = shape;
    keep(digests);
    size_ += static_cast<std::size_t>(std::count(constant.begin(), constant.end(), 0));
}

void Features::keep(const std::vector<ImageDigest>& digests) {
    if (digests.empty()) return;
    digests_.resize(size_);
    digests_.insert(digests_.end(), digests.begin(), digests.end());
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
    if (!pyramid_) {
        const std::vector<ImageDigest> now = digest_images(images);
        for (std::size_t at = 0; at < now.size(); ++at) {
            if (indices[at] >= digests_.size()) continue;
            const std::optional<ImageDigest>& was = digests_[indices[at]];
            if (was && *was != now[at]) return at;
        }
        return indices.size();
    }
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
