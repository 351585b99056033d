#!/bin/sh
# Make the secrets of infra/compose.yaml in infra/secrets, once: what is there is never replaced.
# Compose mounts the files as they are, and three users of containers read them. So the files are readable, and the
# folder, which no container sees, is for its owner alone.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
if [ -e "$folder/pepper" ]; then
  echo "$folder has its secrets already"
  exit 0
fi

random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

password=$(random)
printf '%s' "$password" >"$folder/postgres_password"
printf 'postgresql://keyledger:%s@postgres:5432/keyledger' "$password" >"$folder/database_url"
# Last: a run that was broken off is done again as a whole. Whoever loses it cannot verify any key again.
random >"$folder/.pepper"
chmod 444 "$folder/postgres_password" "$folder/database_url" "$folder/.pepper"
mv "$folder/.pepper" "$folder/pepper"
echo "$folder has its secrets; keep a copy of the pepper"
