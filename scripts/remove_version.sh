#!/usr/bin/env bash
# Remove a cloned version: `comfywatchman version remove`.
. "$(dirname "${BASH_SOURCE[0]}")/lib/strict.sh"
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

USAGE="--target FOLDER [--yes] [--dry-run] [--remove-models] [--remove-root]"

target=""
options=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        --target)
            require_value "$@"
            target="$2"
            shift 2
            ;;
        --yes | --dry-run | --json)
            options+=("$1")
            shift
            ;;
        --remove-models | --remove-root)
            note "$1 is not needed: the whole folder goes, and models that are linked elsewhere stay there."
            shift
            ;;
        -h | --help)
            echo "Usage: ${0##*/} $USAGE"
            exit 0
            ;;
        *) refuse "Unknown option $1." ;;
    esac
done
[[ -n $target ]] || refuse "--target is missing."
run_comfywatchman version remove "$target" "${options[@]}"
