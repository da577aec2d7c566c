// The C ABI on many sets of images, and on floats.
#include <algorithm>
#include <bit>
#include <cmath>

#include "check_capi.hpp"
#include "include/memcore.h"

namespace memcore::tests {
namespace {

constexpr std::size_t kBatches = 3, kCount = 7, kHeight = 6, kWidth = 10, kTileHeight = 3, kTileWidth = 5;

// Three sets are the answers of each by itself.
void test_batches_of_bytes(std::mt19937& random) {
    for (const std::int32_t layout : {MEMCORE_CHANNELS_LAST, MEMCORE_CHANNELS_FIRST}) {
        ImageSet a(kBatches * kCount, kTileHeight, kTileWidth, 2, 2, 3, layout == MEMCORE_CHANNELS_FIRST);
        ImageSet b(kBatches * 2, kTileHeight, kTileWidth, 2, 2, 3, layout == MEMCORE_CHANNELS_FIRST);
        a.randomise(random);
        b.randomise(random);
        memcore_batch x, y;
        CHECK(memcore_batch_init(&x, a.bytes.data(), MEMCORE_UINT8, kBatches, kCount, kHeight, kWidth, 3,
                                 layout) == MEMCORE_OK);
        CHECK(memcore_batch_init(&y, b.bytes.data(), MEMCORE_UINT8, kBatches, 2, kHeight, kWidth, 3,
                                 layout) == MEMCORE_OK);
        std::vector<std::uint64_t> square(kBatches * kCount * kCount), across(kBatches * kCount * 2);
        std::vector<std::uint32_t> narrow(square.size());
        std::vector<float> distances(square.size());
        for (const int threads : {1, 3}) {
            CHECK(memcore_batch_tiled_l2_ssd(&x, nullptr, kTileHeight, kTileWidth, square.data(),
                                             square.size(), threads) == MEMCORE_OK);
            CHECK(memcore_batch_tiled_l2_ssd(&x, &y, kTileHeight, kTileWidth, across.data(), across.size(),
                                             threads) == MEMCORE_OK);
            CHECK(memcore_batch_tiled_l2_ssd32(&x, nullptr, kTileHeight, kTileWidth, narrow.data(),
                                               narrow.size(), threads) == MEMCORE_OK);
            CHECK(memcore_batch_tiled_l2(&x, nullptr, kTileHeight, kTileWidth, distances.data(),
                                         distances.size(), threads) == MEMCORE_OK);
            bool equal = std::equal(square.begin(), square.end(), narrow.begin());
            for (std::size_t k = 0; k < square.size(); ++k)
                equal &= distances[k] == memcore_distance(square[k], kTileHeight * kTileWidth * 3);
            for (std::size_t s = 0; s < kBatches; ++s) {
                for (std::size_t i = 0; i < kCount; ++i) {
                    const std::size_t row = s * kCount + i;
                    for (std::size_t j = 0; j < kCount; ++j)
                        equal &= square[row * kCount + j] == oracle_ssd(a, row, a, s * kCount + j);
                    for (std::size_t j = 0; j < 2; ++j)
                        equal &= across[row * 2 + j] == oracle_ssd(a, row, b, s * 2 + j);
                }
            }
            CHECK(equal);
        }
    }
}

// Values that all three types hold exactly, so that one answer serves them all; at odd addresses.
void test_floats(std::mt19937& random) {
    constexpr std::size_t kElements = kBatches * kCount * kHeight * kWidth;
    std::vector<std::uint8_t> bytes[3] = {std::vector<std::uint8_t>(kElements * 4 + 1),
                                          std::vector<std::uint8_t>(kElements * 2 + 1),
                                          std::vector<std::uint8_t>(kElements * 2 + 1)};
    std::vector<double> values(kElements);
    for (std::size_t k = 0; k < kElements; ++k) {
        values[k] = static_cast<double>(random() % 65) / 64.0;
        const auto value = static_cast<float>(values[k]);
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const auto bfloat = static_cast<std::uint16_t>(bits >> 16);
        // Exponents from -6 to 0, and fractions that are exact.
        const auto half = static_cast<std::uint16_t>(
            value == 0 ? 0U : (((bits >> 23) - 112) << 10 | ((bits >> 13) & 0x3ffU)));
        std::memcpy(bytes[0].data() + 1 + 4 * k, &value, 4);
        std::memcpy(bytes[1].data() + 1 + 2 * k, &half, 2);
        std::memcpy(bytes[2].data() + 1 + 2 * k, &bfloat, 2);
    }
    const auto at = [&](std::size_t image, std::size_t y, std::size_t x) {
        return values[(image * kHeight + y) * kWidth + x];
    };
    const auto oracle = [&](std::size_t i, std::size_t j) {
        double largest = 0;
        for (std::size_t ty = 0; ty < kHeight; ty += kTileHeight) {
            for (std::size_t tx = 0; tx < kWidth; tx += kTileWidth) {
                double sum = 0;
                for (std::size_t y = ty; y < ty + kTileHeight; ++y) {
                    for (std::size_t x = tx; x < tx + kTileWidth; ++x)
                        sum += (at(i, y, x) - at(j, y, x)) * (at(i, y, x) - at(j, y, x));
                }
                largest = std::max(largest, sum);
            }
        }
        return std::sqrt(largest / (kTileHeight * kTileWidth));
    };
    const std::int32_t types[] = {MEMCORE_FLOAT32, MEMCORE_FLOAT16, MEMCORE_BFLOAT16};
    std::vector<float> answers[3];
    for (int t = 0; t < 3; ++t) {
        memcore_batch x;
        CHECK(memcore_batch_init(&x, bytes[t].data(), types[t], kBatches, kCount, kHeight, kWidth, 1,
                                 MEMCORE_CHANNELS_LAST) == MEMCORE_OK);
        x.offset = 1;
        x.data_bytes += 1;
        answers[t].resize(kBatches * kCount * kCount);
        CHECK(memcore_batch_tiled_l2(&x, nullptr, kTileHeight, kTileWidth, answers[t].data(),
                                     answers[t].size(), 2) == MEMCORE_OK);
        std::vector<float> again(answers[t].size());
        CHECK(memcore_batch_tiled_l2(&x, &x, kTileHeight, kTileWidth, again.data(), again.size(), 1) ==
              MEMCORE_OK);
        CHECK(again == answers[t] && answers[t] == answers[0]);
        x.data_bytes -= 1;
        CHECK_FAILS(
            memcore_batch_tiled_l2(&x, nullptr, kTileHeight, kTileWidth, again.data(), again.size(), 1),
            MEMCORE_ERROR_EXTENT, "data_bytes");
    }
    bool near = true;
    for (std::size_t b = 0; b < kBatches; ++b) {
        for (std::size_t i = 0; i < kCount; ++i) {
            for (std::size_t j = 0; j < kCount; ++j) {
                const double got = static_cast<double>(answers[0][(b * kCount + i) * kCount + j]);
                near &= std::abs(got - oracle(b * kCount + i, b * kCount + j)) < 1e-6;
            }
        }
    }
    CHECK(near);
}

void test_bad_batches() {
    float values[48];
    std::fill_n(values, 48, 0.5F);
    float distances[32];
    std::uint64_t ssd[32];
    memcore_batch good;
    CHECK(memcore_batch_init(&good, values, MEMCORE_FLOAT32, 2, 2, 2, 2, 3, MEMCORE_CHANNELS_LAST) == 0);
    const auto with = [&](auto&& change) {
        memcore_batch x = good;
        change(x);
        return memcore_batch_tiled_l2(&x, nullptr, 1, 1, distances, 8, 1);
    };
    CHECK(with([](auto&) {}) == MEMCORE_OK);
    CHECK_FAILS(memcore_batch_tiled_l2(nullptr, nullptr, 1, 1, distances, 8, 1), MEMCORE_ERROR_NULL,
                "images");
    CHECK_FAILS(with([](auto& x) { x.struct_size = sizeof(memcore_images); }), MEMCORE_ERROR_VALUE,
                "struct_size");
    CHECK_FAILS(with([](auto& x) { x.data = nullptr; }), MEMCORE_ERROR_NULL, "images.data");
    for (const int bad : {-1, 4})
        CHECK_FAILS(with([&](auto& x) { x.type = bad; }), MEMCORE_ERROR_VALUE, "type must");
    CHECK_FAILS(with([](auto& x) { x.data_bytes = 191; }), MEMCORE_ERROR_EXTENT, "data_bytes = 191");
    CHECK_FAILS(with([](auto& x) { x.offset = 1; }), MEMCORE_ERROR_EXTENT, "offset 1");
    CHECK_FAILS(
        with([](auto& x) { x.offset = 189, x.batches = x.count = x.height = x.width = x.channels = 1; }),
        MEMCORE_ERROR_EXTENT, "offset 189");
    CHECK_FAILS(with([](auto& x) { x.batches = 0; }), MEMCORE_ERROR_VALUE, "batches must be at least 1");
    CHECK_FAILS(with([](auto& x) { x.batches = 3; }), MEMCORE_ERROR_EXTENT, "data_bytes");
    CHECK_FAILS(with([](auto& x) { x.batches = SIZE_MAX; }), MEMCORE_ERROR_OVERFLOW, "batches");
    CHECK_FAILS(with([](auto& x) { x.batch_stride = 0; }), MEMCORE_ERROR_STRIDES, "batch_stride");
    CHECK_FAILS(with([](auto& x) { x.channel_stride = 1; }), MEMCORE_ERROR_STRIDES, "contiguous");
    CHECK_FAILS(memcore_batch_tiled_l2(&good, nullptr, 1, 1, distances, 7, 1), MEMCORE_ERROR_EXTENT,
                "capacity");
    CHECK_FAILS(memcore_batch_tiled_l2(&good, nullptr, 1, 1, nullptr, 8, 1), MEMCORE_ERROR_NULL, "distances");
    CHECK_FAILS(memcore_batch_tiled_l2(&good, nullptr, 3, 1, distances, 8, 1), MEMCORE_ERROR_VALUE,
                "tile_height");
    CHECK_FAILS(memcore_batch_tiled_l2(&good, nullptr, 1, 1, distances, 8, -1), MEMCORE_ERROR_VALUE,
                "threads");
    CHECK_FAILS(memcore_batch_tiled_l2_ssd(&good, nullptr, 1, 1, ssd, 8, 1), MEMCORE_ERROR_VALUE,
                "type must");
    memcore_batch other = good;
    other.type = MEMCORE_FLOAT16;
    CHECK_FAILS(memcore_batch_tiled_l2(&good, &other, 1, 1, distances, 8, 1), MEMCORE_ERROR_VALUE,
                "other: type");
    CHECK(memcore_batch_init(&other, values, MEMCORE_FLOAT16, 2, 2, 2, 2, 3, 0) == MEMCORE_OK);
    CHECK_FAILS(memcore_batch_tiled_l2(&good, &other, 1, 1, distances, 8, 1), MEMCORE_ERROR_VALUE,
                "other: type");
    other = good;
    other.batches = 1;
    CHECK_FAILS(memcore_batch_tiled_l2(&good, &other, 1, 1, distances, 8, 1), MEMCORE_ERROR_VALUE,
                "other: shape");
    for (const float bad : {1.0000001F, -1e-30F, NAN, INFINITY}) {
        values[1 * 24 + 1 * 12 + 1 * 6 + 5] = bad;
        CHECK_FAILS(with([](auto&) {}), MEMCORE_ERROR_VALUE, "batch 1, image 1, row 1, element 5");
    }
    CHECK_FAILS(memcore_batch_init(&other, values, 9, 1, 1, 1, 1, 1, 0), MEMCORE_ERROR_VALUE, "type must");
    CHECK_FAILS(memcore_batch_init(&other, values, 1, SIZE_MAX, 1, 1, 1, 1, 0), MEMCORE_ERROR_OVERFLOW,
                "bytes");
    CHECK_FAILS(memcore_batch_init(nullptr, values, 1, 1, 1, 1, 1, 1, 0), MEMCORE_ERROR_NULL, "batch");
    CHECK_FAILS(memcore_batch_init(&other, values, 1, 1, 1, 1, 1, 1, 2), MEMCORE_ERROR_VALUE, "layout");
}

}  // namespace
}  // namespace memcore::tests

int main() {
    using namespace memcore::tests;
    for (std::size_t n = 0; n < memcore_isa_count(); ++n) {
        std::mt19937 random(20230131);
        CHECK(memcore_isa_select(memcore_isa_name(n)) == MEMCORE_OK);
        test_batches_of_bytes(random);
        test_floats(random);
    }
    CHECK(memcore_isa_select(nullptr) == MEMCORE_OK);
    test_bad_batches();
    std::printf("C ABI, batches: %d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
