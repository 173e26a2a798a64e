"""Builds csrc/ with CMake and Ninja into fastpose/_C; where that fails, fastpose is installed without it."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configures and builds the CMake project, leaving the extension where setuptools expects it.

    Where that fails while fastpose is installed, it warns, and fastpose will use its references; it is an error
    with FASTPOSE_REQUIRE_EXTENSION=1, and for `setup.py build_ext`.
    """

    def build_extension(self, ext: Extension) -> None:
        try:
            self._build(ext)
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("FASTPOSE_REQUIRE_EXTENSION") == "1" or "build_ext" in sys.argv:
                raise
            self.warn(
                f"fastpose's extension {ext.name} could not be built ({error}). fastpose is installed without "
                "it and uses references in Python, which are slower. A C++20 compiler is what it takes."
            )

    def _build(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = (ROOT / self.build_temp).resolve()
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]  # fmt: skip
        subprocess.run(configure + os.environ.get("FASTPOSE_CMAKE_ARGS", "").split(), check=True)
        subprocess.run(["cmake", "--build", str(build), "--target", "_C"], check=True)


setup(ext_modules=[Extension("fastpose._C", sources=[], optional=True)], cmdclass={"build_ext": CMakeBuild})
