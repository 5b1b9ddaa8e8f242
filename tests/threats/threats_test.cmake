# check_threats.cmake accepts a page that names what there is, and says what
# there is not.
cmake_minimum_required(VERSION 3.25)

set(row "| `DialTest` | `tests/rpc/socket/dial_test.cc` |\n")
set(page ${CMAKE_CURRENT_BINARY_DIR}/page.md)

# `error` is a regex of what is said about a page with `text`; empty when it is
# accepted.
function(expect text error)
  file(WRITE ${page} "${text}")
  execute_process(
    COMMAND ${CMAKE_COMMAND} -DROOT=${ROOT} -DPAGE=${page}
      -P ${CMAKE_CURRENT_LIST_DIR}/check_threats.cmake
    ERROR_VARIABLE said RESULT_VARIABLE failed)
  # CMake breaks long lines.
  string(REGEX REPLACE "[ \n]+" " " said "${said}")
  if(error STREQUAL "" AND failed)
    message(SEND_ERROR "${text} is refused: ${said}")
  elseif(NOT error STREQUAL "" AND NOT (failed AND said MATCHES "${error}"))
    message(SEND_ERROR "${text} is not refused with ${error}: ${said}")
  endif()
endfunction()

expect("`DialTest.ALinkToAServerIsNotFollowed`\n${row}" "")
expect("`DialTest.ALinkToAServer`\n${row}"
  "names DialTest.ALinkToAServer, which tests/rpc/socket/dial_test.cc")
expect("`DialTest.ALinkToAServerIsNotFollowed`\n" "in which file DialTest is")
expect("| `DialTest` | `tests/dial_test.cc` |\n`DialTest.ALinkToAServerIsNotFollowed`"
  "names tests/dial_test.cc, which does not exist")
expect("${row}" "names no test")
