#!/usr/bin/env bash
# Install ComfyUI in a folder: `comfywatchman version init`.
. "$(dirname "${BASH_SOURCE[0]}")/lib/strict.sh"
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

USAGE="[--path FOLDER] [--repo URL] [--ref REF] [--venv FOLDER] [--install-torch auto|cpu|cu1xx|skip] [--python FILE] \
[further options of \`comfywatchman version init\`]"

options=()
torch=skip
while [[ $# -gt 0 ]]; do
    case "$1" in
        --path | --repo | --ref | --venv | --python | --index | --find-links | --with)
            require_value "$@"
            options+=("$1" "$2")
            shift 2
            ;;
        --install-torch)
            require_value "$@"
            torch="$2"
            shift 2
            ;;
        --no-start | --cpu | --offline | --allow-local | --yes | --json)
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
run_comfywatchman version init --torch "$torch" "${options[@]}"
