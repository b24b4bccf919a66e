id_in() {
    tail -n 1
}

site_says() {
    export PILOT PILOT_NAME PILOT_SCRIPT PILOT_LOG PILOT_HOME PILOT_NODES PILOT_SECONDS PILOT_ID
    /bin/sh -c "$1"
}

find_it() {
    if [ -n "$PILOT_FIND" ]; then site_says "$PILOT_FIND"; fi
}

submit() {
    site_says "$PILOT_SUBMIT"
}

state_of() {
    seen=$(site_says "$PILOT_STATE" | tail -n 1)
    case $seen in
    waiting | running | ended | failed | removed | held | gone) printf '%s\n' "$seen" ;;
    *) printf 'it says %s, which is none of waiting, running, ended, failed, removed, held and gone\n' "$seen" >&2; return 1 ;;
    esac
}

cancel() {
    site_says "$PILOT_CANCEL"
}
