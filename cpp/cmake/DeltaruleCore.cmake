# deltarule_core(v3): one CPU level of the core, the static library deltarule_v3 from cpp/src and, with
# Python, the module _core_v3. All sources of one level get the same flags: mixed -m flags in one shared
# object would break the one-definition rule.

set(DELTARULE_SOURCES
    activation average batch_norm dataset embedding inference kernels layer_norm layers loss memory network
    network_sharing objective optimizer parameter_sum random scaling schedule sparse team trainer
    trainer_step workspace)
list(TRANSFORM DELTARULE_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/cpp/src/")
list(TRANSFORM DELTARULE_SOURCES APPEND ".cpp")

set(DELTARULE_BINDINGS arrays custom_loss module register_network register_random
                       register_small_predictor register_sparse register_specs
                       register_trainer)
list(TRANSFORM DELTARULE_BINDINGS PREPEND "${PROJECT_SOURCE_DIR}/cpp/bindings/")
list(TRANSFORM DELTARULE_BINDINGS APPEND ".cpp")

# Files are optimised together in the modules; each C++ test would link for as long as one of those.
set(DELTARULE_ACROSS_FILES OFF)
if(DELTARULE_PYTHON AND NOT DELTARULE_TESTS)
  include(CheckIPOSupported)
  check_ipo_supported(RESULT DELTARULE_ACROSS_FILES OUTPUT why LANGUAGES CXX)
  if(NOT DELTARULE_ACROSS_FILES)
    message(STATUS "Files are not optimised together: ${why}")
  endif()
endif()

# Warnings are errors in our own code.
function(deltarule_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
endfunction()

# -ffp-contract=off: the compiler must not fuse what we did not.
function(deltarule_flags target level)
  deltarule_warnings(${target})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/cpp/include")
  target_include_directories(${target} SYSTEM PUBLIC "${DELTARULE_EIGEN_INCLUDE_DIR}")
  target_compile_definitions(${target} PUBLIC EIGEN_DONT_PARALLELIZE DELTARULE_LEVEL="${level}")
  target_compile_options(${target} PUBLIC -ffp-contract=off)
  if(level STREQUAL "v4" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False alarms inside GCC's own AVX-512 headers (GCC bug 105593).
    target_compile_options(${target} PUBLIC -Wno-maybe-uninitialized -Wno-uninitialized)
  endif()
  if(level MATCHES "^v[234]$")
    target_compile_options(${target} PUBLIC -march=x86-64-${level})
  endif()
  # A step on a small network is many small functions (record 0021).
  set_target_properties(
    ${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF
                         CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
                         INTERPROCEDURAL_OPTIMIZATION_RELEASE ${DELTARULE_ACROSS_FILES})
endfunction()

# A Python module that exports its PyInit function and nothing else, stripped.
function(deltarule_module module)
  pybind11_add_module(${module} MODULE NO_EXTRAS ${ARGN})
  target_compile_features(${module} PRIVATE cxx_std_20)
  deltarule_warnings(${module})
  if(NOT APPLE)
    set(exports "${CMAKE_CURRENT_BINARY_DIR}/${module}.map")
    file(WRITE "${exports}" "{ global: PyInit_${module}; local: *; };\n")
    target_link_options(${module} PRIVATE "LINKER:--version-script=${exports}" LINKER:--gc-sections
                        $<$<CONFIG:Release>:LINKER:--strip-all>)
  endif()
  install(TARGETS ${module} LIBRARY DESTINATION deltarule)
endfunction()

function(deltarule_core level)
  add_library(deltarule_${level} STATIC ${DELTARULE_SOURCES})
  deltarule_flags(deltarule_${level} ${level})
  target_link_libraries(deltarule_${level} PUBLIC Threads::Threads)
  if(DELTARULE_PYTHON)
    set(module _core_${level})
    deltarule_module(${module} ${DELTARULE_BINDINGS})
    deltarule_flags(${module} ${level})
    # The bindings convert and call: small matters more than fast.
    target_compile_options(${module} PRIVATE $<$<CONFIG:Release>:-O1>)
    target_compile_definitions(${module} PRIVATE DELTARULE_MODULE=${module})
    target_link_libraries(${module} PRIVATE deltarule_${level})
  endif()
endfunction()
