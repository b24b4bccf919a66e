#!/bin/sh
# Stands for docker's client at a site: podman has the same command line.
printf '%s\n' "$(printf '[%s]' docker "$@")" >> "$HOME/argv.log"
# As docker does since 20.10, and podman only when told: no error where there is no such container.
[ "${1:-}" != rm ] || { shift; set -- rm --ignore "$@"; }
exec @ROOT@/bin/podman "$@"
