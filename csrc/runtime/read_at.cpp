#include "runtime/read_at.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <io.h>
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace memcore {
namespace {

constexpr std::size_t kAtOnce = 1 << 30;  // what every system takes in one call

// One call of the system: at least one byte, or 0 at the end of the file.
std::size_t read_some(int descriptor, void* to, std::size_t bytes, std::uint64_t offset) {
#if defined(_WIN32)
    OVERLAPPED at{};
    at.Offset = static_cast<DWORD>(offset);
    at.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD got = 0;
    if (ReadFile(reinterpret_cast<HANDLE>(_get_osfhandle(descriptor)), to, static_cast<DWORD>(bytes), &got,
                 &at) == 0) {
        if (GetLastError() == ERROR_HANDLE_EOF) return 0;
        throw std::system_error(EIO, std::generic_category());
    }
    return got;
#else
    for (;;) {
        const ssize_t got = pread(descriptor, to, bytes, static_cast<off_t>(offset));
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR) throw std::system_error(errno, std::generic_category());
    }
#endif
}

}  // namespace

std::size_t read_at(int descriptor, void* to, std::size_t bytes, std::uint64_t offset) {
    std::size_t done = 0;
    while (done < bytes) {
        const std::size_t got = read_some(descriptor, static_cast<std::uint8_t*>(to) + done,
                                          std::min(bytes - done, kAtOnce), offset + done);
        if (got == 0) break;
        done += got;
    }
    return done;
}

}  // namespace memcore
