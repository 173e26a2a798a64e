// The only file that knows pybind11: checks nothing that Python has not checked, releases the GIL around
// work.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "thread_pool.hpp"

namespace py = pybind11;

namespace {

void bind_decoding(py::module_&) {}

void bind_sampling(py::module_&) {}

void bind_rendering(py::module_&) {}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native core of fastpose: decoding, packing, sampling and rendering.";
  module.def("hardware_threads", &fastpose::hardware_threads, "Threads this process may run at once.");
  bind_decoding(module);
  bind_sampling(module);
  bind_rendering(module);
}
