// Thresholds as integers, by exact arithmetic: memcore.types.Threshold without Python's fractions.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "capi/status.hpp"
#include "capi/views.hpp"

namespace memcore::capi {
namespace {

// digits * 10^-places, the shortest decimal that reads back as `value`; the closest to it where several do.
// (std::to_chars would do, but macOS has had it only since 13.3.)
struct Decimal {
    std::uint64_t digits = 0;
    int places = 0;
};

Decimal shortest_decimal(double value) {
    char text[40];
    for (int precision = 0; precision < 17; ++precision) {
        std::snprintf(text, sizeof(text), "%.*e", precision, value);
        if (std::strtod(text, nullptr) == value) break;
    }
    Decimal decimal;
    const char* at = text;
    bool fraction = false;
    for (; *at != 'e' && *at != '\0'; ++at) {
        if (*at < '0' || *at > '9') {  // the point, which is another sign in some locales
            fraction = true;
            continue;
        }
        decimal.digits = decimal.digits * 10 + static_cast<std::uint64_t>(*at - '0');
        decimal.places += fraction ? 1 : 0;
    }
    decimal.places -= static_cast<int>(std::strtol(at + 1, nullptr, 10));
    return decimal;
}

// 256 bits: digits^2 * 255^2 * K is below 2^(114 + 16 + 64).
class Wide {
  public:
    explicit Wide(std::uint64_t value)
        : limbs_{static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)} {}

    void multiply(std::uint64_t factor) {
        std::uint32_t result[kLimbs] = {};
        for (int half = 0; half < 2; ++half) {
            const std::uint64_t part = half == 0 ? factor & UINT32_MAX : factor >> 32;
            std::uint64_t carry = 0;
            for (int k = 0; k + half < kLimbs; ++k) {
                carry += result[k + half] + part * limbs_[k];
                result[k + half] = static_cast<std::uint32_t>(carry);
                carry >>= 32;
            }
        }
        for (int k = 0; k < kLimbs; ++k) limbs_[k] = result[k];
    }
    // Rounds down; dividing again and again gives the same as dividing once by the product.
    void divide(std::uint32_t divisor) {
        std::uint64_t rest = 0;
        for (int k = kLimbs; k-- > 0;) {
            rest = (rest << 32) | limbs_[k];
            limbs_[k] = static_cast<std::uint32_t>(rest / divisor);
            rest %= divisor;
        }
    }
    std::uint64_t low() const { return limbs_[0] | static_cast<std::uint64_t>(limbs_[1]) << 32; }

  private:
    static constexpr int kLimbs = 8;
    std::uint32_t limbs_[kLimbs];
};

std::uint64_t ssd_max(double threshold, std::uint64_t tile_bytes) {
    if (threshold == 0) return 0;
    const Decimal t = shortest_decimal(threshold);
    // digits^2 * 255^2 * K < 10^34 * 10^5 * 10^20: from 10^-59 on nothing is left.
    if (t.places >= 30) return 0;
    Wide answer(t.digits);
    answer.multiply(t.digits);
    answer.multiply(255 * 255);
    answer.multiply(tile_bytes);
    for (int place = 0; place < t.places; ++place) answer.divide(100);
    return answer.low();
}

}  // namespace
}  // namespace memcore::capi

using namespace memcore;
using namespace memcore::capi;

extern "C" {

memcore_status memcore_ssd_max(double threshold, uint64_t tile_bytes, uint64_t* result) {
    return guarded([&] {
        check_pointer(result, "ssd_max");
        if (!(threshold >= 0 && threshold <= 1)) {
            throw ArgumentError("threshold must be a number in [0, 1], got " + std::to_string(threshold));
        }
        if (tile_bytes < 1) throw ArgumentError("tile_bytes must be at least 1, got 0");
        if (tile_bytes > kMaxTileBytes64) {
            throw ArgumentError("tile_bytes: the sum of " + std::to_string(tile_bytes) +
                                    " squared differences does not fit 64 bits",
                                Fault::kOverflow);
        }
        *result = ssd_max(threshold, tile_bytes);
    });
}

float memcore_distance(uint64_t ssd, uint64_t tile_bytes) {
    if (tile_bytes == 0) return std::numeric_limits<float>::quiet_NaN();
    const double largest = static_cast<double>(tile_bytes) * (255.0 * 255.0);
    return static_cast<float>(std::sqrt(static_cast<double>(ssd) / largest));
}
}
