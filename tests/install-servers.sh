#!/bin/sh
# Installs the real servers of the tests from Debian's packages. Without the rights to do so it lists those that
# are missing; the test run is then partial.
set -eu

programs="/usr/lib/postgresql:postgresql redis-server:redis-server prometheus:prometheus
  prometheus-alertmanager:prometheus-alertmanager chromium:chromium
  prometheus-node-exporter:prometheus-node-exporter prometheus-redis-exporter:prometheus-redis-exporter
  prometheus-postgres-exporter:prometheus-postgres-exporter"
missing=""
for pair in $programs; do
  program=${pair%%:*}
  package=${pair#*:}
  case $program in
    /*) [ -e "$program" ] || missing="$missing $package" ;;
    *) command -v "$program" >/dev/null 2>&1 || missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
  as_root=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && as_root="sudo -n" || as_root="no"
  fi
  if [ "$as_root" != no ]; then
    echo "Installing for the tests:$missing"
    $as_root apt-get -qq update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq -y --no-install-recommends install $missing >/dev/null
    exit 0
  fi
fi
echo "Not installed, and no rights to install them:$missing. Tests that need them are left out; the run is partial."
