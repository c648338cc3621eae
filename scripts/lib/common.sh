# Functions that the scripts of this folder share. Source it after strict.sh.

# Print a message and end with the status of a wrong call.
refuse() {
    echo "${0##*/}: $1" >&2
    echo "Usage: ${0##*/} $USAGE" >&2
    exit 2
}

# Print a note on standard error; standard output is for results.
note() {
    echo "${0##*/}: $1" >&2
}

# Check that an option has a value: require_value "$@"
require_value() {
    if [[ $# -lt 2 || -z $2 ]]; then
        refuse "$1 needs a value."
    fi
}

# Replace this script by comfywatchman: that of the checkout, else the one on PATH.
run_comfywatchman() {
    local checkout
    checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
    if [[ -x "$checkout/.venv/bin/comfywatchman" ]]; then
        exec "$checkout/.venv/bin/comfywatchman" "$@"
    fi
    if command -v comfywatchman >/dev/null; then
        exec comfywatchman "$@"
    fi
    note "comfywatchman is not installed: run \`make setup\` in $checkout."
    exit 127
}

# Append the options of pip that uv understands to the array PACKAGE_OPTIONS.
parse_pip_arguments() {
    local -a words
    IFS=' ' read -r -a words <<<"$1"
    while [[ ${#words[@]} -gt 0 ]]; do
        local name="${words[0]%%=*}"
        local value
        if [[ ${words[0]} == *=* ]]; then
            value="${words[0]#*=}"
            words=("${words[@]:1}")
        elif [[ ${#words[@]} -gt 1 ]]; then
            value="${words[1]}"
            words=("${words[@]:2}")
        else
            refuse "--pip-extra-args: $name needs a value."
        fi
        case "$name" in
            --index-url | -i) PACKAGE_OPTIONS+=(--index "$value") ;;
            --find-links | -f) PACKAGE_OPTIONS+=(--find-links "$value") ;;
            *) refuse "--pip-extra-args: only --index-url and --find-links are supported, not $name." ;;
        esac
    done
}
