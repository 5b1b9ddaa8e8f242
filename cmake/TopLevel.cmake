# Choices that belong to whoever builds: made here only when Tandem is the
# top-level project, and each can be set on the command line of cmake.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Kind of build." FORCE)
  # Optimized, with line numbers, and without asserts compiled out.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1" CACHE STRING "Flags of that kind." FORCE)
endif()

find_program(TANDEM_CCACHE ccache)
if(TANDEM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What it must be told to keep sources with precompiled headers too.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros ${TANDEM_CCACHE})
endif()

find_program(TANDEM_LLD ld.lld)
if(TANDEM_LLD)
  add_link_options(-fuse-ld=lld)
endif()

set(TANDEM_SANITIZE "" CACHE STRING "address (with undefined), thread, or nothing.")
if(TANDEM_SANITIZE STREQUAL "address")
  set(sanitizers address,undefined)
  # The vptr check asks a pipe(2) whether memory is there, and so reports every
  # virtual call of a process that is out of descriptors, which we test.
  set(without -fno-sanitize=vptr)
  # Half of the time to compile, and nothing that is wrong is optimized away
  # before it is seen.
  set(optimization -O0)
elseif(TANDEM_SANITIZE STREQUAL "thread")
  set(sanitizers thread)
  set(optimization -O1)
elseif(TANDEM_SANITIZE)
  message(FATAL_ERROR "TANDEM_SANITIZE is '${TANDEM_SANITIZE}', not address or thread.")
endif()
if(TANDEM_SANITIZE)
  add_compile_options(-fsanitize=${sanitizers} ${without}
    -fno-sanitize-recover=all -fno-omit-frame-pointer ${optimization})
  add_link_options(-fsanitize=${sanitizers})
endif()

option(TANDEM_FUZZ "Build the fuzzers of tests/fuzz, with clang, and all else for them." OFF)
if(TANDEM_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang" OR TANDEM_SANITIZE)
    message(FATAL_ERROR "TANDEM_FUZZ needs -DCMAKE_CXX_COMPILER=clang++ and no TANDEM_SANITIZE.")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=vptr
    -fno-sanitize-recover=all -fno-omit-frame-pointer -O1)
  add_link_options(-fsanitize=address,undefined)
endif()
