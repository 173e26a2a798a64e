// Python's view of the operators on arrays: addresses and sizes, which fastpose.ops has checked.
#pragma once

#include <pybind11/pybind11.h>

void bind_operators(pybind11::module_& module);
