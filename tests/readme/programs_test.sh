#!/usr/bin/env bash
# Does what the README's section about the programs says: its first block in one
# terminal, its second one in another.
#
#   programs_test.sh README BIN_DIR WORK_DIR
set -euo pipefail

readme=$1
bin=$2
work=$3

unset TANDEM_DATA
rm -rf "$work"
mkdir -p "$work/build"
ln -s "$bin" "$work/build/bin"
cd "$work"

# Writes the blocks 1.sh, 2.sh and so on.
awk '
  /^## / { inside = ($0 == "## The programs") }
  !inside { next }
  target != "" && /^```$/ { close(target); target = ""; next }
  target != "" { print > target; next }
  /^```/ { target = ++blocks ".sh" }
' "$readme"
[[ -s 1.sh && -s 2.sh && ! -e 3.sh ]] || {
  echo "The programs are not shown in two blocks any more: $(ls)" >&2
  exit 1
}

# A process group of its own, so that a Ctrl-C in the end is for all of it.
set -m
bash -eux 1.sh >1.out 2>1.err &
up=$!
set +m
trap 'kill -INT -- "-$up" && wait "$up" || true' EXIT
until grep -q Ready 1.out; do
  kill -0 "$up" || { cat 1.out 1.err >&2; exit 1; }
  sleep 0.05
done

status=0
bash -euxo pipefail 2.sh >2.out || status=$?
cat 2.out
((status == 0))
grep -qx blue 2.out
grep -q '1 committed' 2.out
grep -Eq '^ *2 .* 1 txs ' 2.out
grep -Eq '^app.state +RUNNING$' 2.out
