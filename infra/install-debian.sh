#!/bin/sh
# Install what a Debian 12 machine lacks to run Kafka, Postgres and nginx natively. Does nothing, at once, if all is there.
# Debian's own services of these packages are neither started nor used: infra.local starts its own, on ports of its own.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

missing=""
have java || missing="$missing openjdk-17-jre-headless"
have mvn || missing="$missing maven"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
{ have nginx || [ -x /usr/sbin/nginx ]; } || missing="$missing nginx-light"
[ "${1:-}" != bench ] || have cc || missing="$missing gcc libc6-dev" # its delay of syncs is a few lines of C

if [ -z "$missing" ]; then
  echo "java, maven, postgresql and nginx are here"
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "missing:$missing - run this as root, or install them yourself" >&2
  exit 1
fi

log=$(mktemp)
# While packages are installed, nothing may start their services. An existing policy of this machine is left alone.
policy=/usr/sbin/policy-rc.d
ours=""
cleanup() {
  [ -z "$ours" ] || rm -f "$policy"
  rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ]; then
  ours=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

step() {
  echo "$1 ..."
  shift
  if ! DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "that failed: $*" >&2
    exit 1
  fi
}

step "apt-get update" apt-get update -q
for package in $missing; do
  step "installing $package" apt-get install -y -q --no-install-recommends "$package"
done
echo "done"
