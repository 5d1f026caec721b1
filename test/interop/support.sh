# SPDX-License-Identifier: Apache-2.0
#
# What the run scripts of clients share. Source it with ROOT set to the top of the repository.
#
#     begin_suite NAME             $scratch is a folder that goes when the script ends
#     start_servers [key=value]    short delay levels; NAMESRV of the environment is taken as it is;
#                                  sets UNSERVED, the cases that these servers do not serve yet
#     from_pypi FILE FOLDER        unpack a package there; FILE pins it, with its checksum
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
  mkdir -p "$2"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --dest "$scratch/pypi" -r "$1" >"$scratch/pip.log" 2>&1 || {
    tail -n 3 "$scratch/pip.log" >&2
    echo "$suite: $(sed -n 's/==.*//p' "$1") could not be had from PyPI"
    exit 77
  }
  for package in "$scratch"/pypi/*; do
    case $package in
    *.whl) python3 -m zipfile -e "$package" "$2" ;;
    *) tar -xzf "$package" -C "$2" --strip-components 1 ;;
    esac
  done
  rm -rf "$scratch/pypi"
}
