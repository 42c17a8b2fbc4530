# Sets DELTARULE_EIGEN_INCLUDE_DIR: as given, else from the build requirement eigency (its headers are
# found without importing it), else from an installed Eigen. Older than 5 is refused.
if(NOT DELTARULE_EIGEN_INCLUDE_DIR AND Python_EXECUTABLE)
  execute_process(
    COMMAND
      "${Python_EXECUTABLE}" -c
      "import importlib.util as u, pathlib as p; s = u.find_spec('eigency'); print(p.Path(s.origin).parent / 'eigen' if s else '', end='')"
    OUTPUT_VARIABLE eigency_dir)
  if(EXISTS "${eigency_dir}/Eigen/Core")
    set(DELTARULE_EIGEN_INCLUDE_DIR "${eigency_dir}")
  endif()
endif()
if(NOT DELTARULE_EIGEN_INCLUDE_DIR)
  find_package(Eigen3 REQUIRED NO_MODULE)
  get_target_property(DELTARULE_EIGEN_INCLUDE_DIR Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
endif()
file(STRINGS "${DELTARULE_EIGEN_INCLUDE_DIR}/Eigen/Version" eigen_version
     REGEX "define EIGEN_MAJOR_VERSION")
string(REGEX MATCH "[0-9]+" eigen_version "${eigen_version}")
if(NOT eigen_version GREATER_EQUAL 5)
  message(FATAL_ERROR "deltarule needs Eigen 5, found '${eigen_version}' in "
                      "${DELTARULE_EIGEN_INCLUDE_DIR}: pip install eigency==5.0.1.1, or set "
                      "DELTARULE_EIGEN_INCLUDE_DIR")
endif()
