#include "bind/arrays.hpp"

#include <string>

namespace memcore::bind {

ImageSet view_images(const py::array& array, std::size_t element_bytes) {
    const auto dims = array.ndim();
    if (dims != 4 && dims != 5)
        throw py::value_error("images must have 4 or 5 dimensions, got " + std::to_string(dims));
    if (static_cast<std::size_t>(array.itemsize()) != element_bytes) {
        throw py::type_error("images must have elements of " + std::to_string(element_bytes) + " bytes");
    }
    const py::ssize_t* shape = array.shape() + (dims - 4);
    const py::ssize_t* strides = array.strides() + (dims - 4);
    arguments::Layout layout;
    layout.data = static_cast<const std::uint8_t*>(array.data());
    layout.batches = dims == 5 ? static_cast<std::size_t>(array.shape(0)) : 1;
    layout.batch_stride = dims == 5 ? array.strides(0) : 0;
    layout.count = static_cast<std::size_t>(shape[0]);
    layout.height = static_cast<std::size_t>(shape[1]);
    layout.width = static_cast<std::size_t>(shape[2]);
    layout.channels = static_cast<std::size_t>(shape[3]);
    layout.image_stride = strides[0];
    layout.row_stride = strides[1];
    layout.column_stride = strides[2];
    layout.channel_stride = strides[3];
    return arguments::view(layout, element_bytes);
}

void check_out(const py::array& out, std::size_t batches, std::size_t rows, std::size_t columns,
               std::size_t element_bytes) {
    const bool shape = out.ndim() == 3 && static_cast<std::size_t>(out.shape(0)) == batches &&
                       static_cast<std::size_t>(out.shape(1)) == rows &&
                       static_cast<std::size_t>(out.shape(2)) == columns;
    if (!shape) throw py::value_error("out must have shape (batches, N, M)");
    if (static_cast<std::size_t>(out.itemsize()) != element_bytes) {
        throw py::type_error("out must have elements of " + std::to_string(element_bytes) + " bytes");
    }
    if (!(out.flags() & py::array::c_style)) throw py::value_error("out must be C-contiguous");
    if (!out.writeable()) throw py::value_error("out must be writable");
}

}  // namespace memcore::bind
