# Bash settings for the scripts of this folder: an error, an unset variable or a failure in a pipe ends the script.
# Source it first: . "$(dirname "${BASH_SOURCE[0]}")/lib/strict.sh"
set -Eeuo pipefail
IFS=$'\n\t'
trap 'status=$?; echo "${0##*/}: line ${BASH_LINENO[0]} ended with status $status" >&2' ERR
