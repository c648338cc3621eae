#!/usr/bin/env bash
# Build a version in a new folder from its lock: `comfywatchman version clone`.
. "$(dirname "${BASH_SOURCE[0]}")/lib/strict.sh"
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

USAGE="--lock FILE --target FOLDER [--python FILE] [--skip-models] [--accept-licences] [--offline] [--wheels-dir FOLDER] \
[--pip-extra-args TEXT] [further options of \`comfywatchman version clone\`]"

lock=""
target=""
options=()
PACKAGE_OPTIONS=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        --lock)
            require_value "$@"
            lock="$2"
            shift 2
            ;;
        --target)
            require_value "$@"
            target="$2"
            shift 2
            ;;
        --wheels-dir)
            require_value "$@"
            PACKAGE_OPTIONS+=(--find-links "$2")
            shift 2
            ;;
        --pip-extra-args)
            require_value "$@"
            parse_pip_arguments "$2"
            shift 2
            ;;
        --python | --index | --find-links | --wheelhouse)
            require_value "$@"
            options+=("$1" "$2")
            shift 2
            ;;
        --skip-models | --accept-licences | --offline | --no-start | --cpu | --allow-local | --json)
            options+=("$1")
            shift
            ;;
        -h | --help)
            echo "Usage: ${0##*/} $USAGE"
            exit 0
            ;;
        *) refuse "Unknown option $1." ;;
    esac
done
[[ -n $lock ]] || refuse "--lock is missing."
[[ -n $target ]] || refuse "--target is missing."
# Without a slash, a name would be looked for among the locks of the home.
[[ $lock == */* ]] || lock="./$lock"
run_comfywatchman version clone "$lock" "$target" "${options[@]}" "${PACKAGE_OPTIONS[@]}"
