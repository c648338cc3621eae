#!/usr/bin/env bash
# Start of the image: compare the version with its lock, start ComfyUI, and serve requests. One JSON line on standard
# output says what happens; any failure, also the end of ComfyUI, ends the container with an error.
set -Eeuo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
COMFY_ROOT="${COMFY_ROOT:-/comfy}"
COMFY_PORT="${COMFY_PORT:-8188}"
HANDLER_HOST="${HANDLER_HOST:-0.0.0.0}"
HANDLER_PORT="${HANDLER_PORT:-8000}"
LOCK_PATH="${LOCK_PATH:-$COMFY_ROOT/version.lock.json}"

# Print the JSON line: report STATUS REASON
report() {
    printf '{"status": "%s", "reason": "%s"}\n' "$1" "$2"
}

fail() {
    report failed "$2"
    exit "$1"
}

[[ -r $LOCK_PATH ]] || fail 2 "lock-missing"
comfywatchman version show "$LOCK_PATH" >/dev/null || fail 2 "lock-invalid"
options=(--lock "$LOCK_PATH" --target "$COMFY_ROOT")
[[ ${COMFY_RESTORE_MODELS:-} == 1 ]] && options+=(--restore)
[[ ${COMFY_ACCEPT_LICENCES:-} == 1 ]] && options+=(--accept-licences)
python3 "$HERE/handler/resolver.py" "${options[@]}" || fail 1 "version-differs"

children=()
is_stopping=""
stop() {
    is_stopping=1
    # The handler first: it cancels what runs.
    for child in "${children[@]}"; do
        kill -TERM "$child" 2>/dev/null || true
    done
}
trap stop TERM INT

IFS=' ' read -r -a comfy_options <<<"${COMFY_OPTIONS:-}"
(cd "$COMFY_ROOT/ComfyUI" && exec .venv/bin/python main.py --listen 127.0.0.1 --port "$COMFY_PORT" "${comfy_options[@]}") >&2 &
children=("$!")

handler_options=(--url "http://127.0.0.1:$COMFY_PORT" --lock "$LOCK_PATH")
if [[ -n ${RUNPOD_WEBHOOK_GET_JOB:-} ]]; then
    # In a serverless worker jobs are fetched, and nothing listens.
    mode=runpod
    shown=runpod
else
    mode=serve
    shown="$HANDLER_HOST:$HANDLER_PORT"
    handler_options+=(--host "$HANDLER_HOST" --port "$HANDLER_PORT")
    [[ -n ${HANDLER_TOKEN_FILE:-} ]] && handler_options+=(--token-file "$HANDLER_TOKEN_FILE")
fi
[[ -n ${HANDLER_OUTPUT_DIR:-} ]] && handler_options+=(--output-dir "$HANDLER_OUTPUT_DIR")
python3 "$HERE/handler/main.py" "$mode" "${handler_options[@]}" >&2 &
children=("$!" "${children[@]}")
report started "$shown"

# The first of both that ends ends the other; a signal ends this wait too.
status=0
wait -n || status=$?
# Neither of them ends by itself while all is well.
[[ -n $is_stopping || $status -ne 0 ]] || status=1
stop
wait "${children[0]}" || status=$?
wait || true
exit "$status"
