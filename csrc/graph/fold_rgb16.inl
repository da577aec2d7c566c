// Folding of the most common tiles, for units that have AVX2; included inside their anonymous namespaces. No
// include guard and no std:: on purpose.

inline __m256i load_ymm(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// The sums of 16 pixels of three channels: 48 columns are three vectors, in which the channels come in turns.
void fold_rgb16(uint16_t* columns, size_t count) {
    static constexpr auto kMasks = [] {
        struct {
            int16_t of[3][3][16];  // [channel][vector][lane]
        } masks{};
        for (size_t i = 0; i < 48; ++i) masks.of[i % 3][i / 16][i % 16] = 1;
        return masks;
    }();
    const __m256i zero = _mm256_setzero_si256();
    for (uint16_t* group = columns; group < columns + count; group += 48) {
        const __m256i v[3] = {load_ymm(group), load_ymm(group + 16), load_ymm(group + 32)};
        __m256i sum[3];
#pragma GCC unroll 3
        for (size_t c = 0; c < 3; ++c) {
            const __m256i a = _mm256_madd_epi16(v[0], load_ymm(kMasks.of[c][0]));
            const __m256i b = _mm256_madd_epi16(v[1], load_ymm(kMasks.of[c][1]));
            sum[c] =
                _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_madd_epi16(v[2], load_ymm(kMasks.of[c][2])));
        }
        const __m256i pairs = _mm256_hadd_epi32(sum[0], sum[1]), last = _mm256_hadd_epi32(sum[2], zero);
        const __m256i halves = _mm256_hadd_epi32(pairs, last);  // of each half: channels 0, 1, 2, and 0
        const __m128i sums =
            _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(group), _mm_packus_epi32(sums, sums));
    }
}
