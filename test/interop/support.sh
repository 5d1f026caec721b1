# SPDX-License-Identifier: Apache-2.0
#
# What the run scripts of clients share. Source it with ROOT set to the top of the repository.
#
#     begin_suite NAME             $scratch is a folder that goes when the script ends
#     start_servers [key=value]    short delay levels; NAMESRV of the environment is taken as it is;
#                                  sets UNSERVED, the cases that these servers do not serve yet
#     from_pypi FILE FOLDER        unpack a package there; FILE pins it, with its checksum. Kept in
#                                  $INTEROP_CACHE (default ~/.cache/cometmq/pypi)
#
# A package that cannot be had ends the script with status 77, which test/run counts as skipped.

begin_suite() {
  suite=$1
  scratch=$(mktemp -d)
  SERVERS_FOLDER=
  trap end_suite EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

end_suite() {
  [ -z "$SERVERS_FOLDER" ] || python3 "$ROOT/test/lib/servers.py" stop "$SERVERS_FOLDER"
  rm -rf "$scratch"
}

start_servers() {
  if [ -z "${NAMESRV:-}" ]; then
    . "$ROOT/test/lib/servers.sh"
    servers_start "messageDelayLevel=1s 1s 1s 1s 1s 1s 2s 2s" mappedFileSizeCommitLog=67108864 \
      transactionCheckInterval=1000 transactionTimeOut=1000 enablePropertyFilter=true "$@" || exit 1
    trap end_suite EXIT
  fi
  UNSERVED=
  if [ "${APACHE:-}" != 1 ] && [ "${ALL:-}" != 1 ]; then
    UNSERVED=$(python3 "$ROOT/test/interop/unserved.py" "$NAMESRV")
  fi
  export UNSERVED
}

from_pypi() {
  package=$(sed -n '1s/ .*//p' "$1")
  kept=${INTEROP_CACHE:-$HOME/.cache/cometmq/pypi}/$package
  if [ ! -d "$kept" ]; then
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
      --dest "$scratch/pypi" -r "$1" >"$scratch/pip.log" 2>&1 || {
      tail -n 3 "$scratch/pip.log" >&2
      echo "$suite: $package could not be had from PyPI"
      exit 77
    }
    mkdir -p "$scratch/unpacked" "$(dirname "$kept")"
    for file in "$scratch"/pypi/*; do
      case $file in
      *.whl) python3 -m zipfile -e "$file" "$scratch/unpacked" ;;
      *) tar -xzf "$file" -C "$scratch/unpacked" --strip-components 1 ;;
      esac
    done
    # Another run may have been faster.
    mv -T "$scratch/unpacked" "$kept" 2>/dev/null || rm -rf "$scratch/unpacked"
    rm -rf "$scratch/pypi"
  fi
  cp -r "$kept" "$2"
}
