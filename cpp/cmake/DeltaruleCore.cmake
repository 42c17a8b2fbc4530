# One CPU level of the core: a static library from cpp/src and, with Python, the module _core_<level>.
# All sources of one level get the same flags: mixed -m flags in one shared object would break the
# one-definition rule.

set(DELTARULE_SOURCES
    activation dataset inference kernels layers loss network objective optimizer random scaling team
    trainer workspace)
list(TRANSFORM DELTARULE_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/cpp/src/")
list(TRANSFORM DELTARULE_SOURCES APPEND ".cpp")

set(DELTARULE_BINDINGS arrays module register_network register_random register_specs
                       register_trainer)
list(TRANSFORM DELTARULE_BINDINGS PREPEND "${PROJECT_SOURCE_DIR}/cpp/bindings/")
list(TRANSFORM DELTARULE_BINDINGS APPEND ".cpp")

# Warnings are errors in our own code. -ffp-contract=off: the compiler must not fuse what we did not.
function(deltarule_flags target level)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/cpp/include")
  target_include_directories(${target} SYSTEM PUBLIC "${DELTARULE_EIGEN_INCLUDE_DIR}")
  target_compile_definitions(${target} PUBLIC EIGEN_DONT_PARALLELIZE
                                              DELTARULE_LEVEL="${level}")
  target_compile_options(
    ${target}
    PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
    PUBLIC -ffp-contract=off)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False alarms inside GCC's own AVX-512 headers (GCC bug 105593).
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
  endif()
  if(NOT level STREQUAL "native")
    target_compile_options(${target} PUBLIC -march=${level})
  endif()
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON
                                             CXX_VISIBILITY_PRESET hidden
                                             VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
endfunction()

# deltarule_core(v3 x86-64-v3) makes deltarule_v3 and _core_v3.
function(deltarule_core suffix level)
  add_library(deltarule_${suffix} STATIC ${DELTARULE_SOURCES})
  deltarule_flags(deltarule_${suffix} ${level})
  if(NOT DELTARULE_PYTHON)
    return()
  endif()
  set(module _core_${suffix})
  pybind11_add_module(${module} MODULE NO_EXTRAS ${DELTARULE_BINDINGS})
  deltarule_flags(${module} ${level})
  target_link_libraries(${module} PRIVATE deltarule_${suffix})
  target_compile_definitions(${module} PRIVATE DELTARULE_MODULE=${module})
  if(NOT APPLE)
    set(exports "${CMAKE_CURRENT_BINARY_DIR}/${module}.map")
    file(WRITE "${exports}" "{ global: PyInit_${module}; local: *; };\n")
    target_link_options(${module} PRIVATE "LINKER:--version-script=${exports}" LINKER:--gc-sections)
  endif()
  install(TARGETS ${module} LIBRARY DESTINATION deltarule)
endfunction()
