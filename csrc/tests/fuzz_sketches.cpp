// libFuzzer on sketches and the search over them: any shapes and bytes that the bindings let through, with
// memory of exactly the size that they need, so that AddressSanitizer sees each byte read or written beyond
// it; the answers are compared with plain sums. csrc/tests/run.sh fuzz [seconds].
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "dispatch/dispatch.hpp"
#include "sketches/contract.hpp"
#include "sketches/range.hpp"
#include "sketches/sketch.hpp"

namespace {

using namespace memcore;

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
    std::size_t number(std::size_t low, std::size_t high) { return low + byte() % (high - low + 1); }

  private:
    const std::uint8_t* const data_;
    const std::size_t size_;
    std::size_t at_ = 0;
};

// Exactly `size` bytes on the heap, from the input and then repeating.
std::unique_ptr<std::uint8_t[]> bytes(Input& in, std::size_t size) {
    std::unique_ptr<std::uint8_t[]> memory(new std::uint8_t[size]);
    const std::uint8_t first = in.byte(), step = in.byte(), mask = in.byte() % 4 == 0 ? 0xff : 0x07;
    for (std::size_t k = 0; k < size; ++k)
        memory[k] = static_cast<std::uint8_t>((first + k * step + (k >> 4)) & mask);
    for (std::size_t k = 0; k < std::min<std::size_t>(size, 24); ++k) memory[k] ^= in.byte();
    return memory;
}

void require(bool holds) {
    if (!holds) std::abort();
}

std::uint64_t plain_ssd(const std::uint8_t* x, const std::uint8_t* y, std::size_t size) {
    std::uint64_t sum = 0;
    for (std::size_t k = 0; k < size; ++k) {
        const std::int64_t d = static_cast<std::int64_t>(x[k]) - y[k];
        sum += static_cast<std::uint64_t>(d * d);
    }
    return sum;
}

void fuzz_sketch(Input& in) {
    const sketches::SketchShape shape = [&] {
        const std::size_t height = in.number(1, 40), width = in.number(1, 40);
        return sketches::SketchShape{height, width, in.number(1, 4),
                                     in.number(1, std::min<std::size_t>(height, 9)),
                                     in.number(1, std::min<std::size_t>(width, 9))};
    }();
    const std::size_t count = in.number(1, 5), numbers = shape.blocks() + sketches::kResidualCopies;
    if (numbers > sketches::kMaxNumbers || !sketches::fits(shape)) return;
    const auto images = bytes(in, count * shape.image_bytes());
    const std::unique_ptr<std::uint8_t[]> out(new std::uint8_t[count * numbers]);
    sketches::sketch(images.get(), count, shape, out.get(), static_cast<int>(in.number(1, 2)));
    // |q_x - q_y| <= D / sqrt(m) + sqrt(n): what the search relies on (sketches/contract.hpp)
    const double m = static_cast<double>(shape.block_pixels()), n = static_cast<double>(numbers);
    for (std::size_t i = 1; i < count; ++i) {
        const auto far = static_cast<double>(
            plain_ssd(images.get(), images.get() + i * shape.image_bytes(), shape.image_bytes()));
        const auto near = static_cast<double>(plain_ssd(out.get(), out.get() + i * numbers, numbers));
        require(std::sqrt(near) <= std::sqrt(far / m) + std::sqrt(n) + 1e-6);
    }
}

// Groups of points around centres, and a corpus, of one width.
struct LevelData {
    std::size_t width, groups, points, rows;
    std::unique_ptr<std::uint8_t[]> centres, at, corpus;
    std::unique_ptr<std::uint32_t[]> limits, centre_limits;

    LevelData(Input& in, std::size_t g, std::size_t p, std::size_t r, const std::int64_t* offsets)
        : width(in.number(1, 70)), groups(g), points(p), rows(r) {
        centres = bytes(in, groups * width);
        at = bytes(in, points * width);
        corpus = bytes(in, rows * width);
        limits.reset(new std::uint32_t[points]);
        centre_limits.reset(new std::uint32_t[groups]);
        for (std::size_t k = 0; k < points; ++k)
            limits[k] = static_cast<std::uint32_t>(in.byte()) * in.byte();
        for (std::size_t k = 0; k < groups; ++k) {  // as large as the contract asks for
            centre_limits[k] = 0;
            for (auto point = static_cast<std::size_t>(offsets[k]);
                 point < static_cast<std::size_t>(offsets[k + 1]); ++point) {
                for (std::size_t row = 0; row < rows; ++row) {
                    if (plain_ssd(at.get() + point * width, corpus.get() + row * width, width) >
                        limits[point])
                        continue;
                    const auto to_centre = static_cast<std::uint32_t>(
                        plain_ssd(centres.get() + k * width, corpus.get() + row * width, width));
                    centre_limits[k] = std::max(centre_limits[k], to_centre);
                }
            }
        }
    }

    bool holds(std::size_t point, std::size_t row) const {
        return plain_ssd(at.get() + point * width, corpus.get() + row * width, width) <= limits[point];
    }
    sketches::Level view() const {
        return {{centres.get(), groups, width},
                {at.get(), points, width},
                {corpus.get(), rows, width},
                centre_limits.get(),
                limits.get()};
    }
};

void fuzz_range(Input& in, const Isa& isa) {
    const std::size_t groups = in.number(0, 5), rows = in.number(0, 40);
    std::vector<std::int64_t> offsets{0};
    for (std::size_t g = 0; g < groups; ++g)
        offsets.push_back(offsets.back() + static_cast<std::int64_t>(in.number(0, 3)));
    const auto points = static_cast<std::size_t>(offsets.back());
    const LevelData coarse(in, groups, points, rows, offsets.data()),
        fine(in, groups, points, rows, offsets.data());
    const sketches::Search search{coarse.view(), fine.view(), offsets.data()};
    std::vector<sketches::Hit> hits;
    const std::size_t most = in.number(0, 1) ? 1000 : 2;
    const bool complete =
        sketches::range_search(*isa.panels, search, most, hits, static_cast<int>(in.number(1, 2)));
    std::size_t wanted = 0;
    for (std::size_t point = 0; point < points; ++point)
        for (std::size_t row = 0; row < rows; ++row)
            wanted += coarse.holds(point, row) && fine.holds(point, row);
    require(complete == (wanted <= most));
    if (!complete) return;
    require(hits.size() == wanted);
    for (const sketches::Hit& hit : hits) {
        const auto row = static_cast<std::size_t>(hit.row);
        require(hit.point < points && row < rows && coarse.holds(hit.point, row) &&
                fine.holds(hit.point, row));
        require(hit.ssd == plain_ssd(fine.at.get() + hit.point * fine.width,
                                     fine.corpus.get() + row * fine.width, fine.width));
    }
}

void fuzz_pairs(Input& in, const Isa& isa) {
    const std::size_t tiles = in.number(1, 4), tile = in.number(1, 70), left = in.number(1, 5),
                      right = in.number(1, 5);
    const auto a = bytes(in, left * tiles * tile), b = bytes(in, right * tiles * tile);
    const std::size_t pairs = in.number(0, 20);
    const std::unique_ptr<std::int64_t[]> i(new std::int64_t[pairs]), j(new std::int64_t[pairs]);
    for (std::size_t p = 0; p < pairs; ++p) {
        i[p] = static_cast<std::int64_t>(in.number(0, left - 1));
        j[p] = static_cast<std::int64_t>(in.number(0, right - 1));
    }
    const std::unique_ptr<std::uint64_t[]> out(new std::uint64_t[pairs]);
    sketches::pair_ssd(*isa.panels, {a.get(), left, tiles * tile}, {b.get(), right, tiles * tile}, tiles,
                       i.get(), j.get(), pairs, out.get(), 1);
    for (std::size_t p = 0; p < pairs; ++p) {
        std::uint64_t largest = 0;
        for (std::size_t t = 0; t < tiles; ++t) {
            largest = std::max(
                largest, plain_ssd(a.get() + (static_cast<std::size_t>(i[p]) * tiles + t) * tile,
                                   b.get() + (static_cast<std::size_t>(j[p]) * tiles + t) * tile, tile));
        }
        require(out[p] == largest);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    const auto sets = available_isas();
    const Isa& isa = *sets[in.byte() % sets.size()];
    switch (in.byte() % 3) {
        case 0:
            fuzz_sketch(in);
            break;
        case 1:
            fuzz_range(in, isa);
            break;
        default:
            fuzz_pairs(in, isa);
    }
    return 0;
}
