# Sourced by check.sh and demo.sh: what they need installed, and how they
# configure a build folder. Both use the same folder and the same options, so
# that neither compiles again what the other has compiled.
#
# shellcheck shell=bash

export LC_ALL=C.UTF-8

# The Debian 12 packages that Tandem is built and tested with. The only list.
readonly tandem_packages=(
  # Tools.
  ccache cmake g++ lld ninja-build procps util-linux
  # What the programs are made of.
  libabsl-dev libcli11-dev libgrpc++-dev libprotobuf-dev libprotoc-dev
  librocksdb-dev libspdlog-dev libssl-dev nlohmann-json3-dev
  protobuf-compiler protobuf-compiler-grpc
  # What the tests are made of.
  libgmock-dev libgtest-dev
)

# Installs those of tandem_packages, and of the packages given, that are
# missing; says nothing and asks for no rights when there are none.
install_packages() {
  local -a wanted=("${tandem_packages[@]}" "$@")
  local -A installed=()
  local -a missing=() as_root=()
  local package status
  while read -r package status; do
    if [[ $status == installed ]]; then installed[$package]=1; fi
  done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null)
  for package in "${wanted[@]}"; do
    if [[ -z ${installed[$package]:-} ]]; then missing+=("$package"); fi
  done
  if ((${#missing[@]} == 0)); then return; fi

  echo "== installing ${missing[*]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "These packages are missing, and there is no sudo to install them" \
        "with. Run as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get
    -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  local -a install=("${apt[@]}" install --no-install-recommends "${missing[@]}")
  # The first attempt fails where the package lists are missing or outdated.
  if ! "${install[@]}" >/dev/null 2>&1; then
    "${apt[@]}" update
    "${install[@]}" >/dev/null
  fi
}

# configure BUILD_DIR [CMAKE_ARGS...]; says nothing unless it fails.
configure() {
  local build=$1
  shift
  cmake -S . -B "$build" -G Ninja --log-level=WARNING -DTANDEM_WERROR=ON \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" >/dev/null
}
