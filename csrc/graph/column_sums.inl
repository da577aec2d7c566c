// The portable pass over an image, for the compiler to vectorise; included inside the anonymous namespace of
// a unit.

void column_sums(const uint8_t* data, ptrdiff_t line_stride, size_t lines, size_t tiles, size_t line_bytes,
                 uint16_t* columns, size_t column_stride, uint32_t* squares, uint8_t* copy,
                 size_t copy_stride) {
    for (size_t t = 0; t < tiles; ++t) {
        uint16_t* __restrict column = columns + t * column_stride;
        for (size_t k = 0; k < column_stride; ++k) column[k] = 0;
        squares[t] = 0;
    }
    // Line by line over all tiles: reads follow memory.
    for (size_t l = 0; l < lines; ++l) {
        for (size_t t = 0; t < tiles; ++t) {
            const uint8_t* __restrict line = data + static_cast<ptrdiff_t>(l) * line_stride + t * line_bytes;
            uint16_t* __restrict column = columns + t * column_stride;
            uint32_t square = 0;
            for (size_t k = 0; k < line_bytes; ++k) {
                column[k] = static_cast<uint16_t>(column[k] + line[k]);
                square += static_cast<uint32_t>(line[k]) * line[k];
            }
            squares[t] += square;
            if (copy != nullptr) __builtin_memcpy(copy + l * copy_stride + t * line_bytes, line, line_bytes);
        }
    }
}

void fold(uint16_t* columns, size_t count, size_t channels, size_t width) {
    for (size_t step = channels * width / 2; step >= channels && width > 1; step /= 2) {
        // Reads run ahead of writes, so whole blocks may be added at once.
        constexpr size_t kBlock = 32;
        for (size_t i = 0; i < count; i += kBlock) {
            uint16_t ahead[kBlock];
            __builtin_memcpy(ahead, columns + i + step, sizeof(ahead));
            for (size_t k = 0; k < kBlock; ++k)
                columns[i + k] = static_cast<uint16_t>(columns[i + k] + ahead[k]);
        }
    }
}
