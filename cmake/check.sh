#!/usr/bin/env bash
# The whole development loop: installs what is missing (Debian 12, with apt-get
# as root or through sudo), builds, and runs every check and test.
#
#   cmake/check.sh                      in build/
#   cmake/check.sh --sanitize=address   in build-address/, with undefined too
#   cmake/check.sh --sanitize=thread    in build-thread/: the tests that do not
#                                       go through gRPC, which is built without
#                                       ThreadSanitizer
#   cmake/check.sh --clang              in build-clang/, with -Wthread-safety;
#                                       may be combined with --sanitize
#   cmake/check.sh --fuzz               in build-fuzz/, with clang: the fuzzers
#                                       alone, for some seconds each
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cmake/setup.sh
source cmake/setup.sh

usage() { sed -n '2,/^set/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# The second one is sanitizers and libFuzzer, which clang only recommends.
clang_packages=(clang libclang-rt-14-dev)
build=build
# The second one compiles each public header alone.
targets=(all all_verify_interface_header_sets)
options=()
more_packages=()
tests=()
for argument in "$@"; do
  case $argument in
    --sanitize=address | --sanitize=thread)
      build+=-${argument#*=}
      options+=("-DTANDEM_SANITIZE=${argument#*=}")
      targets=(all)
      ;;
    --clang)
      build+=-clang
      options+=(-DCMAKE_CXX_COMPILER=clang++)
      more_packages+=("${clang_packages[@]}")
      ;;
    --fuzz)
      build+=-fuzz
      options+=(-DCMAKE_CXX_COMPILER=clang++ -DTANDEM_FUZZ=ON)
      more_packages+=("${clang_packages[@]}")
      targets=(fuzzers)
      tests=(--label-regex fuzz)
      ;;
    --help)
      usage
      exit 0
      ;;
    *)
      echo "$0: unknown option $argument" >&2
      usage >&2
      exit 2
      ;;
  esac
done

install_packages "${more_packages[@]}"
configure "$build" "${options[@]}"
echo "== building in $build"
cmake --build "$build" --target "${targets[@]}"
echo "== testing"
result=0
ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure \
  --no-tests=error "${tests[@]}" || result=$?
# Why tests were skipped, and what to install: ctest keeps it to itself.
log=$build/Testing/Temporary/LastTest.log
if grep -q ': Skipped$' "$log"; then
  echo "== SKIPPED, so not tested:"
  grep -A1 ': Skipped$' "$log" | grep -vE ': Skipped$|^--$' | sort | uniq -c
fi
# Why tests failed, once more at the end, where one looks first.
awk '/^[0-9]+\/[0-9]+ Testing: / {name = $3; said = 0}
     /^\[[-= ]+\]|^Running main|^Note: Google|^[0-9]+\/[0-9]+ Test/ {next}
     /^(Command|Directory): |^-+$|^Output:$|^$/ {next}
     /^Test Failed/ {
       print "== FAILED " name
       for (i = said > 30 ? said - 30 : 0; i < said; ++i) print line[i]
     }
     {line[said++] = $0}' "$log"
exit "$result"
