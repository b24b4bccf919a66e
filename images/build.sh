#!/bin/sh
# Builds the container image of one of our programs: images/build.sh vk-node|vk-operator [TAG]
#
#   TAG                   the image's name [default: vk-cmd/PROGRAM:VERSION]
#   $CONTAINER_TOOL       podman, docker or buildah, with options if need be [default: the first of them that is there]
#   $VK_NODE_PROGRAM, $VK_OPERATOR_PROGRAM  the static program to put into it [default: it is built]
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
name=${1:-}
case $name in
vk-node) program=${VK_NODE_PROGRAM:-} cargo=static ;;
vk-operator) program=${VK_OPERATOR_PROGRAM:-} cargo=static-operator ;;
*)
    echo "build.sh: name a program, vk-node or vk-operator, and not ${name:-nothing}" >&2
    exit 1
    ;;
esac
tag=${2:-vk-cmd/$name:$version}

tool=${CONTAINER_TOOL:-}
for candidate in podman docker buildah; do
    [ -n "$tool" ] || ! command -v "$candidate" >/dev/null || tool=$candidate
done
if [ -z "$tool" ]; then
    echo "build.sh: there is none of podman, docker and buildah: install one, or name it with CONTAINER_TOOL" >&2
    exit 1
fi

if [ -z "$program" ]; then
    cargo $cargo
    program=${CARGO_TARGET_DIR:-target}/release/$name
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$program" "$context/$name"
cp "images/$name/Containerfile" "$context/Containerfile"
chmod 755 "$context/$name"
# Unquoted: it may have options.
$tool build --tag "$tag" --file "$context/Containerfile" "$context"
echo "built $tag"
