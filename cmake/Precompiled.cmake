# Headers of others that most of our sources include, compiled once: parsing
# them is most of the time that a source takes. Only where Tandem is the
# top-level project; whoever takes it in has headers of their own. A source
# still includes all that it uses: the target all_verify_interface_header_sets
# compiles each header of ours without these.

# tandem_precompiled(TARGET HEADERS... DEPS...) makes TARGET, and every target
# of this folder and below that a function of Rooms.cmake makes has its headers.
# What DEPS define is defined in all of those too, or the compiler says that the
# file cannot be used.
function(tandem_precompiled target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "HEADERS;DEPS")
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${target}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_library(${target} OBJECT ${source})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PRIVATE ${ARG_DEPS})
  target_precompile_headers(${target} PRIVATE ${ARG_HEADERS})
  set(TANDEM_PRECOMPILED ${target} PARENT_SCOPE)
endfunction()

tandem_precompiled(precompiled
  HEADERS
    <algorithm> <atomic> <chrono> <cstdint> <deque> <filesystem> <functional>
    <map> <memory> <optional> <set> <span> <string> <string_view> <thread>
    <utility> <vector>
    <absl/container/flat_hash_map.h> <absl/status/statusor.h>
    <absl/strings/escaping.h> <absl/strings/str_cat.h> <absl/strings/str_format.h>
    <absl/strings/str_split.h> <absl/time/clock.h>
    <google/protobuf/message.h> <grpcpp/grpcpp.h>
  DEPS gRPC::grpc++ protobuf::libprotobuf absl::statusor absl::strings
    absl::str_format absl::time absl::flat_hash_map Threads::Threads)
