#!/usr/bin/env bash
# Runs Node against oneDNN 3 on a Debian that has only version 2: the next Debian's packages are unpacked in a folder beside
# the system, and Node runs under their loader. A way to test, not to ship:
#
#     scripts/onednn3.sh FOLDER node_modules/vitest/vitest.mjs run --pool=threads packages/residual/dist/engines/onednn
#
# FOLDER is filled on the first call (some 80 MB). Nothing of the system is changed, apt's own state included. Vitest needs
# --pool=threads: a process that it forks would start the loader without Node.
set -euo pipefail

suite=${SUITE:-trixie}
packages=(libdnnl3.6 libc6 libstdc++6 libgcc-s1 libgomp1)

if [ $# -eq 0 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift

fill() {
  # The mirror that this machine uses for Debian itself.
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$3 == "main" && $2 ~ /^[a-z]+$/ { print $1; exit }')
  if [ -z "$mirror" ]; then
    echo 'apt knows no mirror of Debian here' >&2
    exit 1
  fi
  local apt=$folder/apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,none} "$folder/packages"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/sources.list"
  local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/none" -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o "APT::Architecture=$(dpkg --print-architecture)")
  apt-get "${options[@]}" update >&2
  (cd "$folder/packages" && apt-get "${options[@]}" download "${packages[@]}" >&2)
  for package in "$folder"/packages/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
  rm -r "$apt"

  # Programs that look for `node` find the one under the other loader.
  local libraries
  libraries=$(dirname "$(find "$folder/root" -name 'libdnnl.so.3.*' | head -1)")
  mkdir -p "$folder/bin"
  cat > "$folder/bin/node" << END
#!/bin/sh
exec '$(find "$folder/root" -name 'ld-linux*' | head -1)' --library-path '$libraries' '$(node -p process.execPath)' "\$@"
END
  chmod +x "$folder/bin/node"
}

[ -x "$folder/bin/node" ] || fill
PATH=$folder/bin:$PATH exec node "$@"
