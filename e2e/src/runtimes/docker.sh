#!/bin/sh
# Stands for docker's client at a site: podman has the same command line.
printf '%s\n' "$(printf '[%s]' docker "$@")" >> "$HOME/argv.log"
exec @ROOT@/bin/podman "$@"
