find_it() {
    found=$(squeue --noheader --states=all --user="$(id -u)" --name="$PILOT_NAME" --format=%F) || return 1
    printf '%s\n' "$found" | tr -d ' ' | sort -n | tail -n 1
}

# --parsable: ID, or ID;CLUSTER.
id_in() {
    tail -n 1 | cut -d ';' -f 1 | tr -cd '0-9'
}

state_of() {
    if ! seen=$(squeue --noheader --states=all --jobs="$PILOT_ID" --format='%T %M %r' 2>&1); then
        case $seen in
        *'Invalid job id'*) seen= ;;
        *) printf '%s\n' "$seen" >&2; return 1 ;;
        esac
    fi
    # Slurm forgets a job five minutes after its end, but for the accounting, which not every site has.
    if [ -z "$seen" ]; then
        seen=$(sacct --noheader --parsable2 --delimiter=' ' --allocations --jobs="$PILOT_ID" --format=State%20,Elapsed 2>/dev/null)
    fi
    if [ -z "$seen" ]; then echo gone; return; fi
    printf '%s\n' "$seen" | (
        alive= bad= ended= removed= held=
        while read -r word elapsed rest; do
            case $word in
            COMPLETED | TIMEOUT | PREEMPTED | DEADLINE | REVOKED) ended=$word ;;
            FAILED | NODE_FAIL | BOOT_FAIL | OUT_OF_MEMORY | LAUNCH_FAILED) bad=$word ;;
            CANCELLED*)
                # sacct says by whom: CANCELLED by UID ELAPSED.
                if [ "$elapsed" = by ]; then elapsed=${rest##* }; fi
                case $elapsed in
                *[1-9]*) ended=CANCELLED ;;
                *) removed=$word ;;
                esac
                ;;
            RUNNING | COMPLETING | SUSPENDED | STOPPED | SIGNALING | RESIZING | STAGE_OUT) alive=running ;;
            # A word that is not known is no end.
            *)
                case $rest in
                # Its prolog has failed, say.
                launch*failed*held*) held=$rest ;;
                *[Hh]eld*) alive=${alive:-waiting, for it is held: $rest} ;;
                *) alive=${alive:-waiting} ;;
                esac
                ;;
            esac
        done
        # Of several, those that run go on.
        if [ -n "$held" ] && [ "$alive" != running ]; then echo "held: $held"
        elif [ -n "$alive" ]; then echo "$alive"
        elif [ -n "$bad" ]; then echo "failed: $bad"
        elif [ -n "$ended" ]; then echo "ended: $ended"
        else echo removed
        fi
    )
}

# By its name too: it may have been submitted without our having heard its number.
cancel() {
    scancel --user="$(id -u)" --name="$PILOT_NAME" && scancel "$PILOT_ID" 2>/dev/null
    # That there is nothing left to cancel is no trouble.
    squeue --noheader --user="$(id -u)" --name="$PILOT_NAME" >/dev/null
}
