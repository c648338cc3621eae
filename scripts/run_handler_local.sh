#!/usr/bin/env bash
# Run a workflow once on the running ComfyUI, and return its outputs: `comfywatchman handler run`.
. "$(dirname "${BASH_SOURCE[0]}")/lib/strict.sh"
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

USAGE="--workflow FILE [--lock FILE] [--output auto|base64|file] [--out-file FILE] [--models-dir FOLDER] \
[--output-dir FOLDER] [--url URL] [--timeout SECONDS] [--allow-private]"

workflow=""
lock=""
output="base64"
out_file=""
options=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        --workflow)
            require_value "$@"
            workflow="$2"
            shift 2
            ;;
        --lock)
            require_value "$@"
            lock="$2"
            shift 2
            ;;
        --output)
            require_value "$@"
            output="$2"
            shift 2
            ;;
        --out-file)
            require_value "$@"
            out_file="$2"
            shift 2
            ;;
        --models-dir)
            require_value "$@"
            export COMFYWATCHMAN_COMFYUI__MODELS_DIRECTORY="$2"
            shift 2
            ;;
        --output-dir | --url | --timeout)
            require_value "$@"
            options+=("$1" "$2")
            shift 2
            ;;
        --allow-private)
            options+=("$1")
            shift
            ;;
        --verbose)
            note "--verbose is not needed: the result says everything."
            shift
            ;;
        -h | --help)
            echo "Usage: ${0##*/} $USAGE"
            exit 0
            ;;
        *) refuse "Unknown option $1." ;;
    esac
done
[[ -n $workflow ]] || refuse "--workflow is missing."
[[ -r $workflow ]] || refuse "The workflow $workflow cannot be read."
[[ $output =~ ^(auto|base64|file)$ ]] || refuse "--output is auto, base64 or file, not $output."

status=0
if [[ -n $lock ]]; then
    # Without a slash, a name would be looked for among the locks of the home.
    [[ $lock == */* ]] || lock="./$lock"
    (run_comfywatchman version verify "$lock" --quick) >&2 || status=$?
    if [[ $status -ne 0 ]]; then
        note "ComfyUI is not what $lock says, so nothing was run."
        exit "$status"
    fi
fi

# Run the request; its result goes to standard output.
run_request() {
    printf '{"workflow": %s, "output": "%s"}' "$(<"$workflow")" "$output" |
        (run_comfywatchman handler run - --json "${options[@]}")
}

if [[ -z $out_file ]]; then
    run_request || status=$?
else
    # A result that is not complete must not have the name of one.
    run_request >"$out_file.partial" || status=$?
    mv "$out_file.partial" "$out_file"
fi
exit "$status"
