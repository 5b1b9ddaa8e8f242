# check_layers.cmake accepts the tree as it is and names each include that goes
# against an arrow.
cmake_minimum_required(VERSION 3.25)

# Sets `out` to what the check says about a tree that holds `file`, which
# includes `included`; empty when it accepts it.
function(check out file included)
  set(tree ${CMAKE_CURRENT_BINARY_DIR}/layers_tree)
  file(REMOVE_RECURSE ${tree})
  file(WRITE ${tree}/${file} "#include <string>\n#include \"${included}\"\n")
  execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${tree} -P ${SCRIPT}
    ERROR_VARIABLE error RESULT_VARIABLE failed)
  file(REMOVE_RECURSE ${tree})
  if(failed)
    set(${out} "${error}" PARENT_SCOPE)
  else()
    set(${out} "" PARENT_SCOPE)
  endif()
endfunction()

function(expect_refused file included)
  check(error ${file} ${included})
  if(NOT error MATCHES "${file} includes ${included}")
    message(SEND_ERROR "${file} may include ${included}: ${error}")
  endif()
endfunction()

function(expect_accepted file included)
  check(error ${file} ${included})
  if(error)
    message(SEND_ERROR "${file} may not include ${included}: ${error}")
  endif()
endfunction()

expect_refused(app/service.cc node/executor.h)
expect_refused(node/executor.cc app/application.h)
expect_refused(rpc/server/server.cc app/application.h)
expect_refused(rpc/server/server.cc tendermint/abci/types.tandem.h)
expect_refused(rpc/base/unique_fd.cc rpc/server/server.h)
expect_refused(rpc/socket/dial.cc rpc/client/channel.h)
expect_refused(rpc/client/channel.cc rpc/testing/process_pair.h)
expect_refused(app/kvstore/main.cc tests/support/matchers.h)
expect_refused(node/cli/submit.cc node/mempool.h)
expect_accepted(node/cli/submit.cc tandem/node/v1/node.tandem.h)
expect_refused(proto/abci/trace_file.cc rpc/server/server.h)
expect_accepted(proto/abci/trace_file.cc rpc/base/unique_fd.h)
expect_accepted(app/service.cc tendermint/abci/types.tandem.h)
expect_accepted(rpc/testing/process_pair.cc rpc/testing/temp_dir.h)
