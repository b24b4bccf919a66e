#!/bin/sh
# Builds the container image of vk-node: images/vk-node/build.sh [TAG]. See ../build.sh.
exec "$(dirname "$0")/../build.sh" vk-node "$@"
