#!/usr/bin/env bash
# Shows Tandem on this machine's own data: installs what is missing (Debian 12,
# with apt-get as root or through sudo), builds the programs, starts an
# application and a node, commits the list of installed packages, one transaction
# each, kills both processes, which are started again, and checks that nothing is
# lost.
#
#   cmake/demo.sh
#
# A transaction is name=version. The application takes one separator, and ':' is
# one, so the ':' of a version's epoch is written %3a, as in the names of .deb
# files.
#
# Exit status 0: everything that the summary claims was checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cmake/setup.sh
source cmake/setup.sh

build=build
work=$build/demo   # This demo's own: made new by every run.
tandem=$build/bin/tandem
lone=50            # Transactions that are committed one by one.
export TANDEM_DATA=$work/data
up=                # The pid of `tandem up` while it runs.

say() { echo "== $*"; }
fail() {
  echo "cmake/demo.sh: $*" >&2
  if [[ -s $work/log ]]; then
    echo "What the programs wrote ($work/log) ends in:" >&2
    tail -n 20 "$work/log" >&2
  fi
  exit 1
}
# `tandem up` takes its children with it.
trap 'if [[ -n $up ]]; then kill -KILL "$up" 2>/dev/null || true; fi' EXIT

# Starts both processes and waits until they are ready.
start_pair() {
  rm -f "$work/ready"
  "$tandem" up --json >"$work/ready" 2>>"$work/log" &
  up=$!
  # `tandem up` has a deadline of its own and ends when it passes.
  until [[ -s $work/ready ]]; do
    kill -0 "$up" 2>/dev/null || fail "the programs did not start"
    sleep 0.02
  done
}
# field NAME TEXT: the value of a JSON field, whose name is there once.
field() { sed -E "s/.*\"$1\":\"?([^,\"}]*).*/\1/" <<<"$2"; }
# What `tandem up` said last when both were ready.
ready() { grep '"event":"ready"' "$work/ready" | tail -n 1; }
pid_of() { ready | sed -E "s/.*\"$1\":\{[^}]*\"pid\":([0-9]+).*/\1/"; }
chain() { "$tandem" status --json | sed -E 's/.*"chain":(\{[^}]*\}).*/\1/'; }
milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# shellcheck disable=SC2119
install_packages
configure "$build"
say "building the programs in $build"
cmake --build "$build" --target tandem tandem-kvstore tandem-node

rm -rf "$work"
mkdir -p "$work"
dpkg-query -W -f '${db:Status-Status} ${Package}=${Version}\n' |
  sed -n 's/^installed //p' | sed 's/:/%3a/g' | sort -u >"$work/packages"
packages=$(wc -l <"$work/packages")
cut -d= -f1 "$work/packages" >"$work/names"

begin=$(milliseconds)
start_pair
say "an application and a node are up after $(($(milliseconds) - begin)) ms:" \
  "$(field address "$(ready)")"

say "committing $packages installed packages, one transaction each"
begin=$(milliseconds)
"$tandem" submit --json --wait commit "$work/packages" >"$work/answers" ||
  fail "not every transaction was committed: $(grep -v '"code":0,' \
    "$work/answers" | head -n 3)"
took=$(($(milliseconds) - begin))
committed=$(grep -cE '"code":0,.*"height":[1-9]' "$work/answers" || true)
((committed == packages)) || fail "$committed of $packages were committed"
blocks=$(sed -E 's/.*"height":([0-9]+).*/\1/' "$work/answers" | sort -u | wc -l)
latency() {  # latency PERCENT: of the lone ones
  sed -E 's/.*"milliseconds":([0-9.]+).*/\1/' "$work/alone" | sort -n |
    awk -v share="$1" '{ all[NR] = $1 }
      END { printf "%.1f", all[int((NR - 1) * share / 100) + 1] }'
}

say "committing $lone more, each once the one before is committed"
coproc submit { exec "$tandem" submit --json; }
submit_pid=$submit_PID answers=${submit[0]} lines=${submit[1]}
for ((i = 1; i <= lone; i++)); do
  echo "alone-$i=$i" >&"$lines"
  read -r answer <&"$answers" || fail "transaction $i was not answered"
  echo "$answer"
done >"$work/alone"
exec {lines}>&-
wait "$submit_pid" || fail "not all of them were committed: $(grep -v \
  '"code":0,' "$work/alone" | head -n 3)"

say "reading some of the packages through the node"
for name in $(sed -n "1p;$((packages / 2))p;\$p" "$work/names") libc6; do
  value=$("$tandem" query "$name") || fail "the node does not know $name"
  grep -qxF "$name=$value" "$work/packages" || fail "$name is $value"
  echo "   $name=$value"
done

before=$(chain)
say "killing both with SIGKILL at height $(field height "$before")"
app=$(pid_of app) node=$(pid_of node)
begin=$(milliseconds)
kill -KILL "$app" "$node"
until [[ $(pid_of app) != "$app" && $(pid_of node) != "$node" ]]; do
  kill -0 "$up" 2>/dev/null || fail "they were not started again"
  (($(milliseconds) - begin < 60000)) || fail "they are not ready again"
  sleep 0.02
done
say "'tandem up' has started both again, after $(($(milliseconds) - begin)) ms"
after=$(chain)
[[ $(field height "$after") == "$(field height "$before")" ]] ||
  fail "the height was $(field height "$before"), is $(field height "$after")"
[[ $(field app_hash "$after") == "$(field app_hash "$before")" ]] ||
  fail "the app hash changed: was $before, is $after"
say "reading all $packages packages"
xargs "$tandem" query <"$work/names" >"$work/values" ||
  fail "packages are missing"
paste -d= "$work/names" "$work/values" | diff "$work/packages" - >"$work/lost" ||
  fail "packages are not what they were: $(head -n 4 "$work/lost")"

kill -TERM "$up"
wait "$up" || fail "'tandem up' did not stop as it should"
up=

cat <<END

Every package is there, after both processes were killed.
  transactions       $committed
  blocks             $blocks
  transactions/s     $((committed * 1000 / (took > 0 ? took : 1)))
  commit latency     p50 $(latency 50) ms, p99 $(latency 99) ms (alone, one by one)
  app hash before    $(field app_hash "$before")
  app hash after     $(field app_hash "$after")
END
