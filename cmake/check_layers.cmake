# The arrows between rooms: what the code in a folder may include, and why.
# Run by every build and by ctest; alone: cmake -DROOT=. -P cmake/check_layers.cmake
#
# A folder follows the rule of the longest prefix that is listed here. Product
# code never includes tests/ or rpc/testing/.
cmake_minimum_required(VERSION 3.25)

# What any part of the contract needs is nothing but the contract.
set(rule_proto "proto/;tendermint/;tandem/")
# Code on it also uses the small things that have no opinion, and what any framed
# protocol is made of.
set(rule_proto/abci
  "proto/;tendermint/;tandem/;rpc/base/;rpc/wire/frames/;rpc/wire/method.h;rpc/wire/verdict.h")
# The framework knows no application word: no ABCI, no node.
set(rule_rpc "rpc/;tandem/rpc/")
set(rule_rpc/base "rpc/base/")
set(rule_rpc/socket "rpc/base/;rpc/socket/")
set(rule_rpc/storage "rpc/base/;rpc/storage/")
# The app and the node never include each other: they meet in the contract.
set(rule_app "app/;rpc/;proto/;tendermint/;tandem/rpc/")
set(rule_node "node/;rpc/;proto/;tendermint/;tandem/")
# The command line talks to the programs as any client does, and looks at what
# they keep only while they do not run.
set(rule_node/cli "node/cli/;node/store_check.h;rpc/;proto/;tandem/")
set(folders proto proto/abci rpc rpc/base rpc/socket rpc/storage app node node/cli)

# Sets `out` to the rule of `file`.
function(find_rule out file)
  set(best "")
  foreach(folder IN LISTS folders)
    string(LENGTH "${folder}" length)
    string(LENGTH "${best}" best_length)
    if(file MATCHES "^${folder}/" AND length GREATER best_length)
      set(best ${folder})
    endif()
  endforeach()
  set(${out} "${rule_${best}}" PARENT_SCOPE)
endfunction()

set(ours "^#include \"((proto|rpc|app|node|tests|tendermint|tandem)/[^\"]*)\"")
set(bad "")
foreach(room proto rpc app node)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${room}/*.h ${ROOT}/${room}/*.cc)
  foreach(file IN LISTS files)
    find_rule(allowed ${file})
    file(STRINGS ${ROOT}/${file} lines REGEX "${ours}")
    foreach(line IN LISTS lines)
      string(REGEX MATCH "${ours}" match "${line}")
      set(included ${CMAKE_MATCH_1})
      set(ok FALSE)
      foreach(prefix IN LISTS allowed)
        if(included MATCHES "^${prefix}")
          set(ok TRUE)
        endif()
      endforeach()
      if(included MATCHES "^rpc/testing/" AND NOT file MATCHES "^rpc/testing/")
        set(ok FALSE)
      endif()
      if(NOT ok)
        string(APPEND bad "  ${file} includes ${included}\n")
      endif()
    endforeach()
  endforeach()
endforeach()
if(bad)
  message(FATAL_ERROR "Includes against the arrows between rooms, which cmake/check_layers.cmake explains:\n${bad}")
endif()
