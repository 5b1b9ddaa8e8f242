# C++ from .proto files.
#
#   tandem_generate(TARGET PROTOS... [IMPORT_DIR dir] [GRPC_STUBS] [DEPS targets...])
#
# makes the static library TARGET with the messages (x.pb.h) and, for services,
# the handler, client and dispatch table (x.tandem.h; see rpc/codegen). PROTOS are
# relative to IMPORT_DIR (default: the calling folder) and are included by that
# path: kv/v1/store.proto gives "kv/v1/store.tandem.h". Protos may import those of
# Tandem, such as tandem/rpc/v1/options.proto, and those of the targets in DEPS.
# GRPC_STUBS adds gRPC's own classes (x.grpc.pb.h).
#
# Of the same form, for those parts that the framework itself is built from:
#   tandem_generate_messages(TARGET PROTOS...)   messages alone, no rpc library

# Appends the sources that protoc makes from `protos` to `out`. `kinds` are of
# cpp, tandem, grpc. All files land under one folder, so that includes agree.
function(_tandem_protoc out target import_dir protos kinds)
  set(gen ${CMAKE_CURRENT_BINARY_DIR}/gen)
  file(MAKE_DIRECTORY ${gen})
  set(sources "")
  foreach(proto IN LISTS protos)
    string(REGEX REPLACE "\\.proto$" "" base ${proto})
    foreach(kind IN LISTS kinds)
      set(plugin "")
      set(depends ${import_dir}/${proto})
      if(kind STREQUAL "cpp")
        set(files ${gen}/${base}.pb.cc ${gen}/${base}.pb.h)
      elseif(kind STREQUAL "tandem")
        set(files ${gen}/${base}.tandem.cc ${gen}/${base}.tandem.h)
        set(plugin --plugin=protoc-gen-tandem=$<TARGET_FILE:protoc-gen-tandem>)
        list(APPEND depends protoc-gen-tandem)
      else()
        set(files ${gen}/${base}.grpc.pb.cc ${gen}/${base}.grpc.pb.h)
        set(plugin --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
      endif()
      # The folders of the target and of all it links that hold .proto files.
      set(path "$<TARGET_PROPERTY:${target},TANDEM_PROTO_PATH>")
      add_custom_command(
        OUTPUT ${files}
        COMMAND $<TARGET_FILE:protobuf::protoc> --${kind}_out=${gen} ${plugin}
          "$<$<BOOL:${path}>:-I$<JOIN:${path},;-I>>" ${proto}
        DEPENDS ${depends}
        COMMENT "${kind} code from ${proto}"
        COMMAND_EXPAND_LISTS VERBATIM)
      list(APPEND sources ${files})
    endforeach()
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(_tandem_proto_library target import_dir protos kinds deps)
  if(NOT import_dir)
    set(import_dir ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  _tandem_protoc(sources ${target} ${import_dir} "${protos}" "${kinds}")
  add_library(${target} STATIC ${sources})
  set(path ${import_dir} ${tandem_SOURCE_DIR}/proto)
  foreach(dep IN LISTS deps)
    if(TARGET ${dep})
      get_target_property(more ${dep} TANDEM_PROTO_PATH)
      if(more)
        list(APPEND path ${more})
      endif()
    endif()
  endforeach()
  list(REMOVE_DUPLICATES path)
  set_target_properties(${target} PROPERTIES TANDEM_PROTO_PATH "${path}" LINKER_LANGUAGE CXX)
  # SYSTEM: our warnings are not for generated code.
  target_include_directories(${target} SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR}/gen)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${deps} protobuf::libprotobuf)
endfunction()

function(tandem_generate target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "GRPC_STUBS" "IMPORT_DIR" "DEPS")
  set(kinds cpp tandem)
  set(deps tandem::rpc ${ARG_DEPS})
  if(ARG_GRPC_STUBS)
    list(APPEND kinds grpc)
    list(APPEND deps gRPC::grpc++)
  endif()
  _tandem_proto_library(${target} "${ARG_IMPORT_DIR}" "${ARG_UNPARSED_ARGUMENTS}" "${kinds}" "${deps}")
endfunction()

function(tandem_generate_messages target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "IMPORT_DIR" "DEPS")
  _tandem_proto_library(${target} "${ARG_IMPORT_DIR}" "${ARG_UNPARSED_ARGUMENTS}" cpp "${ARG_DEPS}")
endfunction()
