# SPDX-License-Identifier: Apache-2.0
#
# For shell scripts that need a name server and a broker. Source it with ROOT set to the top of the
# repository:
#
#     . "$ROOT/test/lib/servers.sh"
#     servers_start key=value ...      settings for the broker's configuration file
#
# Then NAMESRV and BROKER hold "host:port", NAMESRV_PID and BROKER_PID the processes, and
# SERVERS_FOLDER their files. They are stopped, by process id, when the script ends. APACHE=1 starts
# Apache's servers instead of ours; BUILD names the folder ours were built in.

SERVERS_FOLDER=

servers_start() {
  apache=
  [ "${APACHE:-}" != 1 ] || apache=--apache
  # shellcheck disable=SC2086
  servers_found=$(python3 "$ROOT/test/lib/servers.py" start $apache "$@") || return 1
  eval "$servers_found"
  trap servers_stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

servers_stop() {
  [ -z "$SERVERS_FOLDER" ] || python3 "$ROOT/test/lib/servers.py" stop "$SERVERS_FOLDER"
  SERVERS_FOLDER=
}
