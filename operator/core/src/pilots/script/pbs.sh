find_it() {
    found=$(qselect -x -u "$(id -un)" -N "$PILOT_NAME") || return 1
    printf '%s\n' "$found" | tail -n 1
}

id_in() {
    tail -n 1 | tr -d ' '
}

state_of() {
    if ! seen=$(qstat -x -f "$PILOT_ID" 2>&1); then
        case $seen in
        *'Unknown Job'*) echo gone; return ;;
        *) printf '%s\n' "$seen" >&2; return 1 ;;
        esac
    fi
    word=$(printf '%s\n' "$seen" | sed -n 's/^ *job_state = //p' | head -n 1)
    code=$(printf '%s\n' "$seen" | sed -n 's/^ *Exit_status = //p' | head -n 1)
    began=$(printf '%s\n' "$seen" | sed -n 's/^ *stime = //p' | head -n 1)
    case $word in
    R | E | B | S | U) echo running ;;
    # By the system itself, after it has failed to start it too often; somebody who holds it means to release it.
    H)
        why=$(printf '%s\n' "$seen" | sed -n 's/^ *comment = //p' | head -n 1)
        case $why in
        *'too many failed attempts'*) echo "held: $why" ;;
        *) echo "waiting, for it is held: $why" ;;
        esac
        ;;
    F | X | C)
        case $code in
        # Of an array, or of one that was deleted in the queue.
        '') if [ -n "$began" ] || [ "$PILOT_NODES" -gt 1 ]; then echo ended; else echo removed; fi ;;
        # 256 and more: a signal, as at the end of its walltime.
        0 | 2[5-9][0-9] | [3-9][0-9][0-9]) echo "ended: $code" ;;
        *) echo "failed: $code" ;;
        esac
        ;;
    *) echo waiting ;;
    esac
}

cancel() {
    seen=$(qdel "$PILOT_ID" 2>&1) && return
    case $seen in
    *'Unknown Job'* | *'has finished'*) ;;
    *) printf '%s\n' "$seen" >&2; return 1 ;;
    esac
}
