#!/bin/sh
# Builds the container image of vk-operator: images/vk-operator/build.sh [TAG]. See ../build.sh.
exec "$(dirname "$0")/../build.sh" vk-operator "$@"
