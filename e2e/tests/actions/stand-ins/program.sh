#!/bin/sh
# Stands in for cargo, sudo, aws, docker, rustup and go: notes the call. cargo behaves like `cargo xtask pipeline`.
name=$(basename "$0")
case "$name" in
sudo)
    # The environment must come along.
    [ "$1" = --preserve-env ] || exit 1
    shift
    SUDO=yes exec "$@"
    ;;
go)
    [ "$*" != "env GOPATH" ] || { echo "$STAND_IN/gopath"; exit 0; }
    ;;
esac
echo "${SUDO:+sudo }$name $*" >>"$STAND_IN/calls"
[ "$name" = cargo ] || exit 0

case "$*" in
"xtask pipeline --stage "*) stage=$4 ;;
*) exit 101 ;;
esac
[ "$AWS_SESSION_TOKEN" = "token of the-role" ] || { echo "no token of AWS"; exit 1; }
case "$stage" in
dev | prod)
    echo "token: $LOADTEST_TOKEN"
    [ "$LOADTEST_TOKEN" = token-of-a-user ] || exit 3
    ;;
esac
# A stage needs the release of the stage before.
case "$stage" in
build) before= ;;
local) before=build ;;
dev) before=local ;;
prod) before=dev ;;
esac
release=target/pipeline/release.json
[ -z "$before" ] || grep -qx "$before" "$release" || { echo "$stage needs the release of $before"; exit 3; }
mkdir -p "target/pipeline/$stage"
code=$(cat "$STAND_IN/exit-codes/$stage" 2>/dev/null || echo 0)
echo "$code" >"target/pipeline/$stage/report.json"
[ "$code" != 0 ] || echo "$stage" >>"$release"
exit "$code"
