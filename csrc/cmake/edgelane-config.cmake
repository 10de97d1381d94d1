# find_package(edgelane) gives edgelane::edgelane, the static library with the C and C++ headers.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/edgelane-targets.cmake")
