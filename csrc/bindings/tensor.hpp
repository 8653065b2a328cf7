// A tensor, read by the methods that Python sees: torch's headers would tie the extension to one
// release of torch. The Python layer has checked shapes, dtypes and devices.
#pragma once

#include <pybind11/pybind11.h>

#include "core/view.hpp"

namespace kantorch::bindings {

namespace py = pybind11;

// What the Python layer hands over is trusted to be what it says.
inline bool trusted(PyObject*) noexcept { return true; }

class Tensor : public py::object {
 public:
  PYBIND11_OBJECT_DEFAULT(Tensor, py::object, trusted)

  bool given() const { return !is_none(); }

  // nullptr if it is not given.
  template <class T>
  T* data() const {
    static PyObject* const name = PyUnicode_InternFromString("data_ptr");
    return given() ? static_cast<T*>(PyLong_AsVoidPtr(call(name).ptr())) : nullptr;
  }

  // Of dimension `dim`, from the end if it is negative.
  Index size(Index dim) const {
    static PyObject* const name = PyUnicode_InternFromString("shape");
    return item(owned(PyObject_GetAttr(ptr(), name)), dim);
  }
  Index stride(Index dim) const {
    static PyObject* const name = PyUnicode_InternFromString("stride");
    return item(call(name), dim);
  }

  // The stride of the leading dimension that a tensor with `own` more dimensions may have, or 0.
  Index batch_stride(Index own) const {
    static PyObject* const name = PyUnicode_InternFromString("stride");
    const py::object strides = call(name);
    return PyTuple_GET_SIZE(strides.ptr()) > own ? item(strides, 0) : 0;
  }

  py::object dtype() const {
    static PyObject* const name = PyUnicode_InternFromString("dtype");
    return owned(PyObject_GetAttr(ptr(), name));
  }

 private:
  static py::object owned(PyObject* object) {
    if (object == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(object);
  }

  static Index item(const py::object& tuple, Index dim) {
    const Py_ssize_t size = PyTuple_GET_SIZE(tuple.ptr());
    return PyLong_AsLongLong(PyTuple_GET_ITEM(tuple.ptr(), dim < 0 ? size + dim : dim));
  }

  py::object call(PyObject* name) const { return owned(PyObject_CallMethodNoArgs(ptr(), name)); }
};

}  // namespace kantorch::bindings
