// Memory that the kernels may load with aligned 64-byte instructions.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace memcore {

inline constexpr std::size_t kAlignment = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

// Allocates zeroed bytes. Large blocks use huge pages where the system has them: the 2,000 page faults of a
// prompt's features would take a quarter of the time that reading its images takes.
class ZeroedBytes {
  public:
    static void* allocate(std::size_t bytes) {
#if defined(__linux__)
        if (bytes >= kHugePage) {
            void* data = mmap(nullptr, round_up(bytes, kHugePage), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (data == MAP_FAILED) throw std::bad_alloc();
            madvise(data, round_up(bytes, kHugePage), MADV_HUGEPAGE);  // advice only: small pages work too
            return data;
        }
#endif
#if defined(_WIN32)
        void* data = _aligned_malloc(bytes, kAlignment);
#else
        void* data = std::aligned_alloc(kAlignment, bytes);
#endif
        if (data == nullptr) throw std::bad_alloc();
        std::memset(data, 0, bytes);
        return data;
    }
    static void release(void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
        if (bytes >= kHugePage) {
            munmap(data, round_up(bytes, kHugePage));
            return;
        }
#endif
#if defined(_WIN32)
        _aligned_free(data);
#else
        std::free(data);
#endif
    }

  private:
    static constexpr std::size_t kHugePage = 2UL << 20;
};

// An owning array of trivial T, 64-byte aligned and zeroed, so that padding is defined.
template <class T>
class AlignedArray {
  public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t size) : size_(size) {
        if (size != 0) data_ = static_cast<T*>(ZeroedBytes::allocate(bytes()));
    }
    AlignedArray(AlignedArray&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    AlignedArray& operator=(AlignedArray&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~AlignedArray() {
        if (data_ != nullptr) ZeroedBytes::release(data_, bytes());
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    void clear() {
        if (size_ != 0) std::memset(static_cast<void*>(data_), 0, size_ * sizeof(T));
    }

  private:
    std::size_t bytes() const { return round_up(size_ * sizeof(T), kAlignment); }

    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace memcore
