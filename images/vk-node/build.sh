#!/bin/sh
# Builds the container image of vk-node: images/vk-node/build.sh [TAG]
#
#   TAG               the image's name [default: vk-cmd/vk-node:VERSION]
#   $CONTAINER_TOOL   podman, docker or buildah, with options if need be [default: the first of them that is there]
#   $VK_NODE_PROGRAM  a static vk-node to put into it [default: it is built, by `cargo static`]
set -eu
cd "$(dirname "$0")/../.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
tag=${1:-vk-cmd/vk-node:$version}

tool=${CONTAINER_TOOL:-}
for candidate in podman docker buildah; do
    [ -n "$tool" ] || ! command -v "$candidate" >/dev/null || tool=$candidate
done
if [ -z "$tool" ]; then
    echo "build.sh: there is none of podman, docker and buildah: install one, or name it with CONTAINER_TOOL" >&2
    exit 1
fi

program=${VK_NODE_PROGRAM:-}
if [ -z "$program" ]; then
    cargo static
    program=${CARGO_TARGET_DIR:-target}/release/vk-node
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$program" "$context/vk-node"
cp images/vk-node/Containerfile "$context/Containerfile"
chmod 755 "$context/vk-node"
# Unquoted: it may have options.
$tool build --tag "$tag" --file "$context/Containerfile" "$context"
echo "built $tag"
