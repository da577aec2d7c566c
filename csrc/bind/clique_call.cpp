// max_clique as a plain C function of Python. A sparse graph is solved in a microsecond: pybind11's dispatch,
// a thread's leave from the interpreter and a dataclass's frozen fields would each take as long.
#include <pybind11/numpy.h>

#include <cstdint>
#include <exception>
#include <new>
#include <vector>

#include "arguments/edges.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "clique/max_clique.hpp"

namespace memcore::bind {
namespace {

namespace py = pybind11;
using clique::Clique;

// The data of a C-contiguous (E, 2) int32 array; false for anything else.
bool read_edges(PyObject* object, clique::EdgeList& list) {
    static const int int32 = py::dtype::of<std::int32_t>().num();
    if (!py::isinstance<py::array>(object)) return false;
    const auto* const array = py::detail::array_proxy(object);
    const py::handle type(array->descr);
    const int wanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (array->nd != 2 || array->dimensions[1] != 2 || (array->flags & wanted) != wanted) return false;
    if (py::detail::array_descriptor_proxy(type.ptr())->type_num != int32 ||
        py::detail::array_descriptor_proxy(type.ptr())->byteorder == '>')
        return false;
    list.edges = reinterpret_cast<const std::int32_t*>(array->data);
    list.count = array->dimensions[0];
    return true;
}

// A new reference is handed over, or an error was raised.
bool set(PyObject* object, PyObject* name, PyObject* value) {
    const py::object owned = py::reinterpret_steal<py::object>(value);
    return value != nullptr && PyObject_GenericSetAttr(object, name, value) == 0;
}

PyObject* make_members(const std::vector<int>& members) {
    PyObject* const tuple = PyTuple_New(static_cast<Py_ssize_t>(members.size()));
    if (tuple == nullptr) return nullptr;
    for (std::size_t i = 0; i < members.size(); ++i) {
        PyObject* const number = PyLong_FromLong(members[i]);
        if (number == nullptr) {
            Py_DECREF(tuple);
            return nullptr;
        }
        PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), number);
    }
    return tuple;
}

struct Names {
    PyObject* members = PyUnicode_InternFromString("members");
    PyObject* lower = PyUnicode_InternFromString("lower");
    PyObject* upper = PyUnicode_InternFromString("upper");
    PyObject* proven = PyUnicode_InternFromString("proven");
    PyObject* nodes = PyUnicode_InternFromString("nodes");
    PyObject* no_arguments = PyTuple_New(0);
};

// An instance of the dataclass, past its frozen __setattr__.
PyObject* make_clique(PyTypeObject* type, const Clique& found) {
    static const Names* const names = new Names;  // as long as the interpreter lives
    PyObject* const object = type->tp_new(type, names->no_arguments, nullptr);
    if (object == nullptr) return nullptr;
    if (set(object, names->members, make_members(found.members)) &&
        set(object, names->lower, PyLong_FromLong(found.lower)) &&
        set(object, names->upper, PyLong_FromLong(found.upper)) &&
        set(object, names->proven, PyBool_FromLong(found.proven)) &&
        set(object, names->nodes, PyLong_FromLongLong(found.nodes)))
        return object;
    Py_DECREF(object);
    return nullptr;
}

Clique solve(const clique::EdgeList& list, std::int64_t node_limit) {
    arguments::check_edges(list);
    Clique found;
    if (clique::small_core_maximum(list, node_limit, 1, found)) return found;
    const Unlocked unlocked;
    return clique::max_clique(list, node_limit);
}

PyObject* max_clique_as(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 4 || !PyType_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "max_clique_as(type, n, edges, node_limit)");
        return nullptr;
    }
    const std::int64_t n = PyLong_AsLongLong(arguments[1]);
    const std::int64_t node_limit = PyLong_AsLongLong(arguments[3]);
    if (PyErr_Occurred() != nullptr) return nullptr;
    try {
        clique::EdgeList list;
        if (!read_edges(arguments[2], list)) Py_RETURN_NONE;
        list.n = arguments::check_n(n);
        arguments::check_node_limit(node_limit);
        return make_clique(reinterpret_cast<PyTypeObject*>(arguments[0]), solve(list, node_limit));
    } catch (const Interrupted&) {
        return nullptr;  // the signal's handler has raised
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

PyMethodDef method = {
    .ml_name = "max_clique_as",
    .ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(max_clique_as)),
    .ml_flags = METH_FASTCALL,
    .ml_doc = "The largest clique as a `type`; None unless edges are a C-contiguous (E, 2) int32 array.",
};

}  // namespace

void init_clique_call(py::module_& m) {
    m.attr("max_clique_as") = py::reinterpret_steal<py::object>(PyCFunction_New(&method, nullptr));
}

}  // namespace memcore::bind
