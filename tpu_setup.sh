#!/usr/bin/env bash
# Prepare a fresh TPU VM, every worker of a pod slice, or a GPU VM for flaxner.
#
#   bash tpu_setup.sh                  on a TPU VM, in a clone of the repository
#   bash tpu_setup.sh --gpu            on a GPU VM with an NVIDIA driver
#   bash tpu_setup.sh --cpu-dry-run    everything except for the accelerator
#
# On all workers of a slice at once (they must run it together, because it ends with a collective):
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command='git clone URL flaxner || true; cd flaxner && bash tpu_setup.sh'
#
# Options:
#   --venv DIR       virtual environment to create or reuse   (default: .venv next to this script)
#   --no-install     reuse the environment as it is
#   --no-check       skip the check at the end
# Running it again only changes what is not set up yet. Versions are those in constraints.txt.
set -euo pipefail

kind=tpu extra=tpu platforms=tpu,cpu venv="" install=yes check=yes
fail() { echo "tpu_setup.sh: $*" >&2; exit 2; }
say() { echo "== $*"; }

while [ $# -gt 0 ]; do
  case $1 in
    --gpu) kind=gpu extra=cuda platforms=cuda,cpu ;;
    --cpu-dry-run) kind=cpu extra="" platforms=cpu ;;
    --venv) [ $# -gt 1 ] || fail "--venv needs a folder"; venv=$2; shift ;;
    --no-install) install=no ;;
    --no-check) check=no ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown argument $1; choose from: --gpu --cpu-dry-run --venv --no-install --no-check" ;;
  esac
  shift
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -f "$here/pyproject.toml" ] && [ -f "$here/constraints.txt" ] ||
  fail "must be run from a clone of the repository: $here is not one"
venv=$(realpath -ms -- "${venv:-$here/.venv}")

[ "$(uname -s)" = Linux ] || fail "requires Linux; this is $(uname -s)"
if [ "$kind" = gpu ]; then
  command -v nvidia-smi > /dev/null || fail "--gpu needs an NVIDIA driver: nvidia-smi not found"
elif [ "$kind" = tpu ]; then
  compgen -G '/dev/accel*' > /dev/null || compgen -G '/dev/vfio/[0-9]*' > /dev/null ||
    fail "this machine has no TPU (neither /dev/accel* nor /dev/vfio/*): try --cpu-dry-run"
fi

right_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }
find_python() {
  local name
  for name in "$venv/bin/python" python3.13 python3.12 python3.11 python3; do
    if command -v "$name" > /dev/null && right_python "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}
python=$(find_python) || {
  if [ "$install" = no ] || ! command -v apt-get > /dev/null || ! command -v sudo > /dev/null; then
    fail "requires Python 3.11 or newer; found $(python3 --version 2>&1)"
  fi
  say "installing Python 3.11"
  sudo apt-get -qq update
  sudo apt-get -qq install -y python3.11 python3.11-venv ||
    fail "requires Python 3.11 or newer, which this system's packages do not provide"
  python=$(find_python) || fail "requires Python 3.11 or newer"
}

free_gib=$(($(df -Pk "$here" | awk 'NR == 2 {print $4}') / 1048576))
[ "$free_gib" -ge 8 ] || fail "requires 8 GiB of free disk space; $here has $free_gib"
say "$(uname -sr), $("$python" --version), $free_gib GiB free"

if [ "$install" = yes ]; then
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  say "installing flaxner${extra:+[$extra]} into $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$here/constraints.txt" -e "$here${extra:+[$extra]}"
elif [ ! -x "$venv/bin/python" ]; then
  fail "--no-install needs an existing environment: $venv/bin/python not found"
fi

# The environment for all later runs: `source .flaxner-env`. Written atomically.
settings=$here/.flaxner-env
cat > "$settings.$$" << END
# written by tpu_setup.sh
export PATH="$venv/bin:\$PATH"
export PYTHONPATH="$here\${PYTHONPATH:+:\$PYTHONPATH}"
export JAX_PLATFORMS=$platforms
export JAX_COMPILATION_CACHE_DIR="\${JAX_COMPILATION_CACHE_DIR:-\$HOME/.cache/flaxner/jax}"
END
if [ "$kind" = gpu ]; then
  # Allocate memory on demand, so that a second program on the card (torch, a notebook) can run too.
  echo "export XLA_PYTHON_CLIENT_PREALLOCATE=\"\${XLA_PYTHON_CLIENT_PREALLOCATE:-false}\"" >> "$settings.$$"
fi
mv "$settings.$$" "$settings"
# shellcheck source=/dev/null
. "$settings"
say "environment for later shells: source $settings"

if [ "$check" = yes ]; then
  say "checking devices, a collective over all of them, and twenty steps"
  python -m flaxner.training.machine_check --expect "$kind" || fail "NOT READY: see above"
fi
say "READY: python scripts/train.py --preset quickstart"
