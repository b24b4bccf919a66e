#!/bin/sh
# Stands for apptainer: `apptainer exec [options] IMAGE COMMAND [ARGS]`, as its documentation has it, by ch-run. As with
# apptainer, the image sees the host's $HOME, /tmp, /dev, /proc and /sys, its network and its environment.
set -u
printf '%s\n' "$(printf '[%s]' apptainer "$@")" >> "$HOME/argv.log"
die() { echo "FATAL:   $*" >&2; exit 255; }

[ "${1:-}" = exec ] || die "this stand-in knows exec only, not ${1:-nothing}"
shift
cd_to=$PWD
binds=
while [ $# -gt 0 ]; do
    case $1 in
    --pwd | --cwd) cd_to=$2; shift 2 ;;
    --pwd=* | --cwd=*) cd_to=${1#*=}; shift ;;
    -B | --bind) binds="$binds $2"; shift 2 ;;
    --bind=*) binds="$binds ${1#*=}"; shift ;;
    --nv | --rocm) shift ;;
    -*) die "unknown flag: $1" ;;
    *) break ;;
    esac
done
[ $# -ge 2 ] || die "exec needs an image and a command"

image=${1#docker://}
shift
root=@ROOT@/images/$(printf %s "$image" | tr '/:' '%+')
[ -d "$root" ] || die "could not open image $image"

# Variables with the prefix are the container's without it.
for name in $(env | sed -n 's/^APPTAINERENV_\([A-Za-z0-9_]*\)=.*/\1/p'); do
    eval "export $name=\"\$APPTAINERENV_$name\""
done
set -- "$root" -- "$@"
for bind in $binds; do
    # SOURCE:TARGET:ro has no like in ch-run.
    set -- "--bind=${bind%:ro}" "$@"
done
export USER="${USER:-$(id -un)}"
exec ch-run --cd="$cd_to" --bind="$HOME:$HOME" "$@"
