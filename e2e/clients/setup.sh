#!/usr/bin/env bash
# Installs the three test clients on a Debian machine: what is missing of the system's packages, and each library as its
# lock file names it. A second run only looks whether something changed.
#
# CLIENTS_TARGET_DIR says where songbird is built; without it below the repository's own target directory.
set -euo pipefail
cd "$(dirname "$0")"
target=${CLIENTS_TARGET_DIR:-$PWD/../../target/clients}

# Which program or file shows that a package is there: asking the package manager would take longer than the rest.
packages=()
need() { [[ -e $1 ]] || packages+=("$2"); }
need_command() { command -v "$1" >/dev/null || packages+=("$2"); }
need_command cc build-essential
need_command cmake cmake
need_command pkg-config pkg-config
need_command node nodejs
need_command npm npm
need_command python3 python3
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
need "/usr/lib/$(uname -m)-linux-gnu/libopus.so.0" libopus0
need /usr/include/opus/opus.h libopus-dev
if ((${#packages[@]})); then
    as_root=()
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi
if (($(node -p 'process.versions.node.split(".")[0]') < 20)); then
    echo "discord.js needs Node.js 20 or newer; this is $(node --version)" >&2
    exit 1
fi

# Runs the rest of its arguments unless the folder $1 was made from exactly the file $2.
unless_made_from() {
    local folder=$1 source=$2 sum
    shift 2
    sum=$(sha256sum "$source")
    [[ -f $folder/.made-from && $(<"$folder/.made-from") == "$sum" ]] && return
    "$@"
    printf '%s\n' "$sum" >"$folder/.made-from"
}

install_discordjs() {
    # @discordjs/voice asks for a newer Node.js than Debian has; what it needs of it, 20 has too.
    (cd discordjs && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

install_discordpy() {
    python3 -m venv --clear discordpy/.venv
    discordpy/.venv/bin/pip install --quiet --disable-pip-version-check --requirement discordpy/requirements.txt
}

# What is loaded from elsewhere comes while the third is compiled.
unless_made_from discordjs/node_modules discordjs/package-lock.json install_discordjs &
loading=($!)
unless_made_from discordpy/.venv discordpy/requirements.txt install_discordpy &
loading+=($!)
failed=0
cargo build --quiet --locked --manifest-path songbird/Cargo.toml --target-dir "$target" || failed=$?
for job in "${loading[@]}"; do wait "$job" || failed=$?; done
exit "$failed"
