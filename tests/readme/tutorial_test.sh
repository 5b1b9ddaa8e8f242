#!/usr/bin/env bash
# Does what the README's tutorial says, in an empty folder beside Tandem.
#
#   tutorial_test.sh README TANDEM_SOURCE WORK_DIR
#
# A fenced block behind a line that is only `path`: is that file. The sh blocks
# are run by one shell, in their order; a text block behind one is what it prints.
# The build folder stays in WORK_DIR, so a second run builds little.
set -euo pipefail

readme=$1
source=$2
work=$3
section="## Tutorial"

mkdir -p "$work"
ln -sfn "$source" "$work/tandem"
cd "$work"
rm -rf .tutorial
mkdir .tutorial

# Writes the files, and the blocks .tutorial/N.sh and .tutorial/N.text.
awk -v section="$section" '
  function finish() { close(target); target = "" }
  /^## / { inside = ($0 == section) }
  !inside { next }
  target != "" && /^```$/ { finish(); next }
  target != "" { print > target; next }
  /^`[^`]+`:$/ { file = substr($0, 2, length($0) - 3); next }
  /^```/ {
    kind = substr($0, 4)
    if (file != "") {
      folder = file
      if (sub(/\/[^\/]*$/, "", folder)) system("mkdir -p " folder)
      # A file that stays as it was keeps its time, and is not compiled again.
      target = ".tutorial/file" ++files
      print file > ".tutorial/names"
    } else if (kind == "sh") target = ".tutorial/" ++blocks ".sh"
    else if (kind == "text") target = ".tutorial/" blocks ".text"
    else target = "/dev/null"
    printf "" > target
    file = ""
  }
' "$readme"
[[ -s .tutorial/names && -s .tutorial/1.sh ]] || {
  echo "There is no tutorial under '$section' in $readme" >&2
  exit 1
}

number=0
while read -r name; do
  number=$((number + 1))
  cmp -s ".tutorial/file$number" "$name" || cp ".tutorial/file$number" "$name"
done <.tutorial/names

# One shell, so that what one block starts in the background another may end.
# It leaves none running.
{
  # shellcheck disable=SC2016
  echo 'trap '\''for job in $(jobs -p); do kill "$job"; done'\'' EXIT'
  for ((number = 1; ; number++)); do
    [[ -e .tutorial/$number.sh ]] || break
    echo "{ $(<.tutorial/$number.sh)"
    echo "} > .tutorial/$number.out"
  done
} >.tutorial/all.sh
status=0
bash -euxo pipefail .tutorial/all.sh || status=$?
if ((status != 0)); then
  tail -n 20 .tutorial/*.out
  exit "$status"
fi
for expected in .tutorial/*.text; do
  diff -u "$expected" "${expected%.text}.out" || status=1
done
exit "$status"
