#!/bin/sh
# As root: run a command as the services' user with their settings and secrets, such as
#   sh infra/services/as-causeway.sh causeway deploy /srv/causeway/studies/rain_delays.yaml
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
set -a
for each in causeway worker ray; do
    . "/etc/causeway/$each.env"
done
set +a
export RAY_AUTH_MODE=token PATH="$root/.venv/bin:$PATH"
cd "$(dirname "$CAUSEWAY_HOME")/worker"
exec runuser -u causeway -- "$@"
