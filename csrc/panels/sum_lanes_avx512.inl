// Included inside the anonymous namespaces of the units of AVX-512. No include guard and no std:: on purpose.

// The sum of 16 lanes modulo 2^32. _mm512_reduce_add_epi32 ends in additions of int in GCC's header, which
// must not overflow; sums of squares reach 2^32 - 1.
inline uint32_t sum_lanes(__m512i lanes) {
    const __m256i eight =
        _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
}
