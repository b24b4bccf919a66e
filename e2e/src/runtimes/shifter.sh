#!/bin/sh
# Stands for shifter: `shifter --image=TYPE:NAME [options] [--entrypoint] [COMMAND ARGS]`, as NERSC documents it, by
# ch-run. As with shifter, the image sees the host's $HOME and network and has the host's environment.
set -u
printf '%s\n' "$(printf '[%s]' shifter "$@")" >> "$HOME/argv.log"
die() { echo "shifter: $*" >&2; exit 1; }

image=
entry=
cd_to=$PWD
volumes=
while [ $# -gt 0 ]; do
    case $1 in
    --image=*) image=${1#*=}; shift ;;
    -i | --image) image=$2; shift 2 ;;
    --workdir=*) cd_to=${1#*=}; shift ;;
    -w | --workdir) cd_to=$2; shift 2 ;;
    --volume=*) volumes="$volumes ${1#*=}"; shift ;;
    -V | --volume) volumes="$volumes $2"; shift 2 ;;
    --env=*) export "${1#*=}"; shift ;;
    -e | --env) export "$2"; shift 2 ;;
    --module=*) shift ;;
    -m | --module) shift 2 ;;
    --entrypoint) entry=/bin/entry; shift ;;
    --entrypoint=*) entry=${1#*=}; shift ;;
    --) shift; break ;;
    -*) die "unrecognized option '$1'" ;;
    *) break ;;
    esac
done
[ -n "$image" ] || die "no image specified"
[ $# -gt 0 ] || [ -n "$entry" ] || die "no command specified"

root=@ROOT@/images/$(printf %s "${image#docker:}" | tr '/:' '%+')
[ -d "$root" ] || die "FAILED to lookup $image"
[ -z "$entry" ] || set -- "$entry" "$@"
set -- "$root" -- "$@"
for volume in $volumes; do
    set -- "--bind=${volume%:ro}" "$@"
done
export USER="${USER:-$(id -un)}"
exec ch-run --cd="$cd_to" --bind="$HOME:$HOME" "$@"
