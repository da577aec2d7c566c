// Sketches and the search over them, against scalar references in 64-bit integers, on every instruction set
// and with several threads. All arrays have exactly their size, so that AddressSanitizer sees each read
// beyond them.
#include <algorithm>
#include <tuple>
#include <utility>

#include "check.hpp"
#include "dispatch/dispatch.hpp"
#include "sketches/contract.hpp"
#include "sketches/range.hpp"
#include "sketches/sketch.hpp"

namespace memcore::tests {
namespace {

using Bytes = std::vector<std::uint8_t>;
using sketches::Hit;
using sketches::Rows;

Bytes random_bytes(std::mt19937& random, std::size_t size, int lowest = 0, int highest = 255) {
    std::uniform_int_distribution<int> value(lowest, highest);
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(value(random));
    return bytes;
}

std::int64_t oracle_ssd(const std::uint8_t* x, const std::uint8_t* y, std::size_t bytes) {
    std::int64_t sum = 0;
    for (std::size_t k = 0; k < bytes; ++k) {
        const std::int64_t d = static_cast<std::int64_t>(x[k]) - y[k];
        sum += d * d;
    }
    return sum;
}

// As sketches/contract.hpp defines it, one pixel after the other.
Bytes oracle_sketch(const std::uint8_t* image, const sketches::SketchShape& shape) {
    const auto m = static_cast<std::int64_t>(shape.block_pixels());
    std::int64_t numerator = 0;  // m r^2 = m |x|^2 - sum S^2
    for (std::size_t k = 0; k < shape.image_bytes(); ++k) numerator += m * image[k] * image[k];
    Bytes sketch;
    for (std::size_t row = 0; row < shape.rows; ++row) {
        for (std::size_t column = 0; column < shape.columns; ++column) {
            for (std::size_t c = 0; c < shape.channels; ++c) {
                std::int64_t sum = 0;
                for (std::size_t y = 0; y < shape.block_height(); ++y) {
                    for (std::size_t x = 0; x < shape.block_width(); ++x) {
                        const std::size_t line = row * shape.block_height() + y;
                        const std::size_t pixel = line * shape.width + column * shape.block_width() + x;
                        sum += image[pixel * shape.channels + c];
                    }
                }
                numerator -= sum * sum;
                sketch.push_back(static_cast<std::uint8_t>((2 * sum + m) / (2 * m)));
            }
        }
    }
    std::int64_t residual = 0;  // the whole number nearest to sqrt(numerator) / (2 m)
    while (residual < 255 && (2 * residual + 1) * m * (2 * residual + 1) * m <= numerator) ++residual;
    sketch.insert(sketch.end(), sketches::kResidualCopies, static_cast<std::uint8_t>(residual));
    return sketch;
}

void test_sketch(std::mt19937& random) {
    // Powers of two and others as pixels a block, and grids that leave a border over.
    constexpr sketches::SketchShape kShapes[] = {{1, 1, 1, 1, 1},  {8, 8, 3, 2, 4},   {9, 7, 4, 2, 3},
                                                 {17, 5, 2, 4, 1}, {32, 32, 3, 4, 4}, {6, 300, 1, 3, 7}};
    for (const sketches::SketchShape& shape : kShapes) {
        CHECK(sketches::fits(shape));
        for (const std::size_t count : {std::size_t{1}, std::size_t{521}}) {  // 256 make a thread's unit
            const Bytes noise = random_bytes(random, count * shape.image_bytes());
            Bytes extremes = random_bytes(random, count * shape.image_bytes(), 0, 1);
            for (std::uint8_t& byte : extremes) byte = static_cast<std::uint8_t>(255 * byte);
            for (const Bytes& images : {noise, extremes, Bytes(noise.size(), 255)}) {
                Bytes wanted;
                for (std::size_t i = 0; i < count; ++i) {
                    const Bytes one = oracle_sketch(images.data() + i * shape.image_bytes(), shape);
                    wanted.insert(wanted.end(), one.begin(), one.end());
                }
                for (const int threads : {1, 3}) {
                    Bytes out(count * (shape.blocks() + sketches::kResidualCopies), 7);
                    sketches::sketch(images.data(), count, shape, out.data(), threads);
                    CHECK(out == wanted);
                }
            }
        }
    }
    CHECK(!sketches::fits({std::size_t{1} << 31, std::size_t{1} << 31, 4, 1, 1}));
}

// Groups of points and a corpus, at one resolution. The limits of the centres are as small as the search
// allows.
struct LevelData {
    std::size_t width;
    Bytes centres, points, corpus;
    std::vector<std::uint32_t> centre_limits, limits;

    std::int64_t ssd(std::size_t point, std::size_t row) const {
        return oracle_ssd(points.data() + point * width, corpus.data() + row * width, width);
    }
    sketches::Level view() const {
        const auto rows = [&](const Bytes& bytes) { return Rows{bytes.data(), bytes.size() / width, width}; };
        return {rows(centres), rows(points), rows(corpus), centre_limits.data(), limits.data()};
    }
};

LevelData make_level(std::mt19937& random, std::size_t width, const std::vector<std::int64_t>& offsets,
                     std::size_t corpus_rows, int highest) {
    const auto points = static_cast<std::size_t>(offsets.back());
    LevelData level{.width = width,
                    .centres = {},
                    .points = random_bytes(random, points * width, 0, highest),
                    .corpus = random_bytes(random, corpus_rows * width, 0, highest),
                    .centre_limits = {},
                    .limits = {}};
    // About the distance of two random rows, so that a good part of them is found.
    const auto typical =
        static_cast<std::uint32_t>(width) * static_cast<std::uint32_t>(highest * highest) / 6;
    std::uniform_int_distribution<std::uint32_t> limit(typical / 2, typical + typical / 8);
    for (std::size_t p = 0; p < points; ++p) level.limits.push_back(limit(random));
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
        const auto first = static_cast<std::size_t>(offsets[g]),
                   end = static_cast<std::size_t>(offsets[g + 1]);
        const std::uint8_t* const centre = level.points.data() + first * width;
        level.centres.insert(level.centres.end(), centre, centre + width);
        std::int64_t farthest = end == first + 1 ? level.limits[first] : 0;
        for (std::size_t p = first; p < end; ++p) {
            for (std::size_t row = 0; row < corpus_rows; ++row) {
                if (level.ssd(p, row) > level.limits[p]) continue;
                farthest = std::max(farthest, oracle_ssd(centre, level.corpus.data() + row * width, width));
            }
        }
        level.centre_limits.push_back(static_cast<std::uint32_t>(farthest));
    }
    return level;
}

using Found = std::tuple<std::int64_t, std::uint32_t, std::uint32_t>;

std::vector<Found> oracle_range(const LevelData& coarse, const LevelData& fine,
                                const std::vector<std::int64_t>& offsets) {
    constexpr std::size_t kBlock =
        192;  // hits are ordered by blocks of this number of rows, then group, row and point
    const std::size_t rows = fine.corpus.size() / fine.width;
    std::vector<Found> found;
    for (std::size_t block = 0; block < rows; block += kBlock) {
        for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
            for (std::size_t row = block; row < std::min(rows, block + kBlock); ++row) {
                for (auto p = static_cast<std::size_t>(offsets[g]);
                     p < static_cast<std::size_t>(offsets[g + 1]); ++p) {
                    const std::int64_t ssd = fine.ssd(p, row);
                    if (ssd <= fine.limits[p] && coarse.ssd(p, row) <= coarse.limits[p])
                        found.emplace_back(row, p, static_cast<std::uint32_t>(ssd));
                }
            }
        }
    }
    return found;
}

void test_range(const Isa& isa, std::mt19937& random) {
    struct Case {
        std::size_t coarse_width, fine_width, corpus;
        std::vector<std::int64_t> offsets;
        int highest;
    };
    std::vector<std::int64_t> many{0};  // groups of 1 to 3 points, in more than one panel of centres
    for (std::int64_t g = 0; g < 21; ++g) many.push_back(many.back() + 1 + g % 3);
    const Case cases[] = {{1, 1, 1, {0, 1}, 255},
                          {16, 52, 193, {0, 1, 4}, 255},
                          {7, 33, 6200, many, 3},  // more rows than one thread takes at a time
                          {68, 130, 400, many, 255}};
    for (const Case& c : cases) {
        const LevelData coarse = make_level(random, c.coarse_width, c.offsets, c.corpus, c.highest);
        const LevelData fine = make_level(random, c.fine_width, c.offsets, c.corpus, c.highest);
        const std::vector<Found> wanted = oracle_range(coarse, fine, c.offsets);
        const sketches::Search search{coarse.view(), fine.view(), c.offsets.data()};
        for (const int threads : {1, 3}) {
            std::vector<Hit> hits;
            CHECK(sketches::range_search(*isa.panels, search, wanted.size(), hits, threads));
            std::vector<Found> found;
            for (const Hit& hit : hits) found.emplace_back(hit.row, hit.point, hit.ssd);
            CHECK(found == wanted);
            if (!wanted.empty())
                CHECK(!sketches::range_search(*isa.panels, search, wanted.size() - 1, hits, threads));
        }
    }
    const LevelData none = make_level(random, 5, {0, 2}, 0, 255);
    const std::vector<std::int64_t> offsets{0, 2};
    std::vector<Hit> hits{{1, 2, 3}};
    CHECK(sketches::range_search(*isa.panels, {none.view(), none.view(), offsets.data()}, 0, hits, 2));
    CHECK(hits.empty());
}

void test_pairs(const Isa& isa, std::mt19937& random) {
    struct Case {
        std::size_t rows, tiles, tile_bytes, pairs;
    };
    // More pairs than one thread takes at a time; tiles of one byte, and so long that 32 bits do not hold
    // their ssd.
    constexpr Case kCases[] = {
        {30, 1, 75, 2500}, {9, 5, 1, 40}, {7, 4, 129, 100}, {3, 2, panels::kMaxBytes32 + 70, 9}};
    for (const Case& c : kCases) {
        const std::size_t width = c.tiles * c.tile_bytes;
        Bytes left = random_bytes(random, c.rows * width), right = random_bytes(random, c.rows * width);
        std::fill_n(left.begin(), width, 0);
        std::fill_n(right.begin(), width, 255);
        std::uniform_int_distribution<std::int64_t> row(0, static_cast<std::int64_t>(c.rows) - 1);
        std::vector<std::int64_t> i(c.pairs), j(c.pairs);
        std::vector<std::uint64_t> wanted(c.pairs);
        for (std::size_t p = 0; p < c.pairs; ++p) {
            i[p] = p == 0 ? 0 : row(random);
            j[p] = p == 0 ? 0 : row(random);
            for (std::size_t t = 0; t < c.tiles; ++t) {
                const std::uint8_t* x =
                    left.data() + static_cast<std::size_t>(i[p]) * width + t * c.tile_bytes;
                const std::uint8_t* y =
                    right.data() + static_cast<std::size_t>(j[p]) * width + t * c.tile_bytes;
                wanted[p] = std::max(wanted[p], static_cast<std::uint64_t>(oracle_ssd(x, y, c.tile_bytes)));
            }
        }
        for (const int threads : {1, 3}) {
            std::vector<std::uint64_t> out(c.pairs, 7);
            sketches::pair_ssd(*isa.panels, {left.data(), c.rows, width}, {right.data(), c.rows, width},
                               c.tiles, i.data(), j.data(), c.pairs, out.data(), threads);
            CHECK(out == wanted);
        }
    }
}

}  // namespace
}  // namespace memcore::tests

int main() {
    using namespace memcore;
    using namespace memcore::tests;
    std::mt19937 random(20230131);
    test_sketch(random);
    for (const Isa* isa : available_isas()) {
        const int before = failed;
        test_range(*isa, random);
        test_pairs(*isa, random);
        std::printf("sketches %s: %s\n", isa->name, failed == before ? "ok" : "FAILED");
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
