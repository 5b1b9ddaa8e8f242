# The target functions of the rooms. A room is a top-level source folder; what
# it may include is written in check_layers.cmake.
#
#   tandem_library(rpc_base HDRS base/unique_fd.h SRCS base/unique_fd.cc DEPS absl::status)
#   tandem_binary(tandem-node SRCS main.cc DEPS tandem::node)
#   tandem_test(rpc/socket/unix_listener DEPS tandem::rpc)
#
# tandem_library(NAME) makes tandem_NAME and the alias tandem::NAME; its headers
# are included from the project's root ("rpc/base/unique_fd.h"), and each of
# them must compile alone (target all_verify_interface_header_sets).
# Designated initializers name what differs from the default, not every field.
set(TANDEM_COPTS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-unused-parameter
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND TANDEM_COPTS -Wthread-safety)
endif()
option(TANDEM_WERROR "Treat warnings as errors (on in our CI, off for packagers)." OFF)
if(TANDEM_WERROR)
  list(APPEND TANDEM_COPTS -Werror)
endif()

# The headers that TANDEM_PRECOMPILED has compiled (Precompiled.cmake), if any.
function(_tandem_use_precompiled target)
  if(TANDEM_PRECOMPILED)
    target_precompile_headers(${target} REUSE_FROM ${TANDEM_PRECOMPILED})
    # As those headers were compiled; and what ccache needs to see them.
    target_compile_options(${target} PRIVATE -pthread
      $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
endfunction()

function(tandem_library name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "HDRS;SRCS;DEPS")
  add_library(tandem_${name} STATIC ${ARG_SRCS})
  add_library(tandem::${name} ALIAS tandem_${name})
  target_sources(tandem_${name} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${tandem_SOURCE_DIR} FILES ${ARG_HDRS})
  set_target_properties(tandem_${name} PROPERTIES
    VERIFY_INTERFACE_HEADER_SETS ON
    LINKER_LANGUAGE CXX)
  target_compile_features(tandem_${name} PUBLIC cxx_std_20)
  target_compile_options(tandem_${name} PRIVATE ${TANDEM_COPTS})
  target_link_libraries(tandem_${name} PUBLIC ${ARG_DEPS})
  _tandem_use_precompiled(tandem_${name})
endfunction()

function(tandem_binary name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SRCS;DEPS")
  add_executable(${name} ${ARG_SRCS})
  target_compile_options(${name} PRIVATE ${TANDEM_COPTS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  _tandem_use_precompiled(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${tandem_BINARY_DIR}/bin)
endfunction()

# tests/PATH_test.cc becomes the program PATH_test (slashes as underscores) and
# one ctest case per TEST, labelled with the room. TIMEOUT is in seconds, for
# each case. NO_GRPC takes a gtest filter, such as "*": these cases do not go
# through gRPC, so they, and they alone, run under ThreadSanitizer (gRPC itself is
# built without it). WIRES: once more over each of these (tests/support/wire.h),
# as the cases PATH.WIRE.NAME; not with AddressSanitizer, under which the wires'
# own tests run, and that takes long enough.
function(tandem_test path)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "TIMEOUT;NO_GRPC" "SRCS;DEPS;WIRES")
  set(filter "")
  if(TANDEM_SANITIZE STREQUAL "thread")
    if(NOT ARG_NO_GRPC)
      return()
    endif()
    set(filter TEST_FILTER "${ARG_NO_GRPC}")
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  string(REPLACE "/" "_" name ${path})
  add_executable(${name}_test ${tandem_SOURCE_DIR}/tests/${path}_test.cc ${ARG_SRCS}
    $<TARGET_OBJECTS:tests_everywhere>)
  target_compile_options(${name}_test PRIVATE ${TANDEM_COPTS})
  target_link_libraries(${name}_test PRIVATE ${ARG_DEPS} tandem::rpc_testing
    GTest::gmock_main absl::strings absl::time)
  _tandem_use_precompiled(${name}_test)
  target_compile_definitions(${name}_test PRIVATE TANDEM_BIN_DIR="${tandem_BINARY_DIR}/bin")
  include(GoogleTest)
  string(REGEX REPLACE "/.*" "" room ${path})
  gtest_discover_tests(${name}_test
    TEST_PREFIX "${path}."
    ${filter}
    PROPERTIES LABELS ${room} TIMEOUT ${ARG_TIMEOUT}
    DISCOVERY_TIMEOUT 60)
  if(TANDEM_SANITIZE STREQUAL "address")
    set(ARG_WIRES "")
  elseif(TANDEM_SANITIZE STREQUAL "thread")
    list(REMOVE_ITEM ARG_WIRES grpc)
  endif()
  foreach(wire IN LISTS ARG_WIRES)
    gtest_discover_tests(${name}_test
      TEST_PREFIX "${path}.${wire}."
      TEST_LIST ${name}_test_${wire}
      ${filter}
      PROPERTIES LABELS ${room} TIMEOUT ${ARG_TIMEOUT}
        ENVIRONMENT TANDEM_TEST_WIRE=${wire}
      DISCOVERY_TIMEOUT 60)
  endforeach()
endfunction()
